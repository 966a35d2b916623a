"""What the system offers, judged."""

import pytest
from msgspec import structs
from tests.devices.machines import NAMES, profile_of

from ai_assistant.devices.judge import Finding, judge
from ai_assistant.devices.profile import Offers, Power, Profile, Swap

DISK = Swap(path="/dev/sda3", kind="partition", total_bytes=8 << 30, used_bytes=0)
ZRAM = Swap(path="/dev/zram0", kind="zram", total_bytes=8 << 30, used_bytes=0)


def with_(offers: Offers | None = None, power: Power | None = None) -> Profile:
    profile = profile_of("vm-azure-8272cl")
    return structs.replace(profile, offers=offers or Offers(), power=power or Power())


def only(profile: Profile, name: str) -> Finding:
    (found,) = (one for one in judge(profile) if one.name == name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_warning_says_what_it_means_and_what_to_do(name: str):
    for one in judge(profile_of(name)):
        assert one.found
        assert (one.verdict == "warn") == bool(one.meaning) == bool(one.advice)
        assert one.verdict == "warn" or not one.changes


def test_what_was_not_read_is_not_judged():
    assert judge(with_()) == ()
    assert judge(profile_of("mac-mini-m4")) == ()


@pytest.mark.parametrize(
    ("offers", "verdict"),
    [
        (Offers(swaps=()), "ok"),
        (Offers(swaps=(DISK,), swappiness=60, zswap=False), "warn"),
        (Offers(swaps=(DISK,), swappiness=60, zswap=True), "ok"),
        (Offers(swaps=(ZRAM,), swappiness=180, zswap=False), "ok"),
        (Offers(swaps=(DISK,), swappiness=10, zswap=False), "ok"),
        (Offers(swaps=(DISK,), swappiness=None), "ok"),
    ],
)
def test_swap(offers: Offers, verdict: str):
    found = only(with_(offers), "Swap")
    assert found.verdict == verdict
    if verdict == "warn":
        assert [(one.path, one.value) for one in found.changes] == [
            ("/proc/sys/vm/swappiness", "10"),
            ("/sys/module/zswap/parameters/enabled", "Y"),
        ]


def test_what_the_kernel_was_built_without_is_not_advised():
    found = only(with_(Offers(swaps=(DISK,), swappiness=60, zswap=None)), "Swap")
    assert [one.path for one in found.changes] == ["/proc/sys/vm/swappiness"]


def test_huge_pages_that_are_never_used_are_a_loss():
    assert only(with_(Offers(huge_pages="never")), "Huge pages").changes[0].value == "madvise"
    assert only(with_(Offers(huge_pages="madvise")), "Huge pages").verdict == "ok"


@pytest.mark.parametrize(
    ("governor", "driver", "better"),
    [
        ("powersave", "acpi-cpufreq", "schedutil"),
        ("powersave", "intel_pstate", None),
        ("powersave", "amd-pstate-epp", None),
        ("conservative", "cppc_cpufreq", "schedutil"),
        ("performance", "acpi-cpufreq", None),
    ],
)
def test_governors(governor: str, driver: str, better: str | None):
    power = Power(governor=governor, frequency_driver=driver, governors=("powersave", "schedutil"))
    found = only(with_(power=power), "Governor")
    assert [one.value for one in found.changes] == ([better] if better else [])


def test_a_laptop_on_battery_and_an_old_kernel_are_told():
    assert only(profile_of("laptop-i7-1370p"), "Supply").verdict == "warn"
    assert only(profile_of("old-xeon-e5-2650v2"), "Pressure").verdict == "warn"
    assert only(profile_of("old-xeon-e5-2650v2"), "io_uring").found.startswith("not usable")
