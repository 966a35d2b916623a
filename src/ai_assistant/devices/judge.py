"""What the system offers, judged for large weights that are read again for every token.

Facts in, findings out. A finding may name the one setting that would mend it; nothing is set here.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from ai_assistant.devices.profile import Offers, Power, Profile

CALM_SWAPPINESS = 30
"""Above it Linux swaps out weights to keep files cached."""
_ZSWAP = "/sys/module/zswap/parameters/enabled"
_HOLDS_BACK = {"powersave", "conservative"}
CHOOSES_ITSELF = {"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"}
"""With these drivers `powersave` is the usual governor, and fast when there is work."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the system and what to write to it; needs root."""

    path: str
    value: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One offer. `meaning` and `advice` are empty where all is well."""

    name: str
    verdict: Literal["ok", "warn"]
    found: str
    meaning: str = ""
    advice: str = ""
    changes: tuple[Change, ...] = ()


def judge(profile: Profile) -> tuple[Finding, ...]:
    """Every offer that could be read."""
    offers, power = profile.offers, profile.power
    found = [*_memory(offers), *_reading(offers), *_watching(offers), *_speed(power)]
    return tuple(found)


def _memory(offers: Offers) -> Iterator[Finding]:
    if offers.swaps is not None:
        yield _swap(offers)
    if offers.huge_pages is not None:
        yield _huge_pages(offers.huge_pages)


def _swap(offers: Offers) -> Finding:
    swaps = offers.swaps or ()
    total = sum(one.total_bytes for one in swaps)
    compressed = bool(offers.zswap) or any(one.kind == "zram" for one in swaps)
    if not swaps:
        return Finding(
            name="Swap",
            verdict="ok",
            found="none: weights stay in memory; when it runs out, a program is ended",
        )
    kinds = ", ".join(dict.fromkeys(one.kind for one in swaps))
    found = f"{total / 1e9:.1f} GB ({kinds}), swappiness {offers.swappiness}"
    if compressed:
        how = "zram" if any(one.kind == "zram" for one in swaps) else "zswap"
        return Finding(name="Swap", verdict="ok", found=f"{found}, compressed by {how}")
    if offers.swappiness is None or offers.swappiness <= CALM_SWAPPINESS:
        return Finding(name="Swap", verdict="ok", found=found)
    # None: this kernel was built without it.
    zswap = () if offers.zswap is None else (Change(path=_ZSWAP, value="Y"),)
    return Finding(
        name="Swap",
        verdict="warn",
        found=f"{found}, not compressed",
        meaning="Weights and KV cache may be swapped to disk while files stay cached.",
        advice="sysctl vm.swappiness=10, or turn on zswap; `ai-assistant doctor --apply` does",
        changes=(Change(path="/proc/sys/vm/swappiness", value="10"), *zswap),
    )


def _huge_pages(mode: str) -> Finding:
    if mode != "never":
        return Finding(name="Huge pages", verdict="ok", found=mode)
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    return Finding(
        name="Huge pages",
        verdict="warn",
        found=mode,
        meaning="Gigabytes of weights in pages of 4 KiB cost time at every token.",
        advice=f"echo madvise > {path}",
        changes=(Change(path=path, value="madvise"),),
    )


def _reading(offers: Offers) -> Iterator[Finding]:
    if offers.io_uring is not None:
        words = "usable" if offers.io_uring else "not usable; several threads read instead"
        yield Finding(name="io_uring", verdict="ok", found=words)


def _watching(offers: Offers) -> Iterator[Finding]:
    if offers.cgroup is not None:
        yield Finding(name="cgroup", verdict="ok", found=f"version {offers.cgroup}")
    if offers.pressure is None:
        return
    if offers.pressure:
        yield Finding(name="Pressure", verdict="ok", found="the kernel tells memory pressure")
    else:
        yield Finding(
            name="Pressure",
            verdict="warn",
            found="the kernel does not tell memory pressure (PSI)",
            meaning="Memory that runs short is noticed late.",
            advice="Boot with psi=1, or use a kernel from 4.20 on.",
        )


def _speed(power: Power) -> Iterator[Finding]:
    if power.governor is not None:
        yield _governor(power, power.governor)
    if power.on_battery is not None:
        yield _supply(power.on_battery)


def _governor(power: Power, governor: str) -> Finding:
    found = f"{governor} ({power.frequency_driver})"
    if governor not in _HOLDS_BACK or power.frequency_driver in CHOOSES_ITSELF:
        return Finding(name="Governor", verdict="ok", found=found)
    better = next(
        (one for one in ("schedutil", "ondemand", "performance") if one in power.governors), None
    )
    path = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
    return Finding(
        name="Governor",
        verdict="warn",
        found=found,
        meaning="The processor is held at a low frequency.",
        advice=f"echo {better} | tee {path}" if better else "Choose another governor.",
        changes=(Change(path=path, value=better),) if better else (),
    )


def _supply(on_battery: bool) -> Finding:
    if not on_battery:
        return Finding(name="Supply", verdict="ok", found="mains")
    return Finding(
        name="Supply",
        verdict="warn",
        found="battery",
        meaning="Most machines compute more slowly on battery.",
        advice="Plug it in before you measure or work long.",
    )
