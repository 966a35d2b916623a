"""Facts of machines that are not this one, from recorded texts."""

from pathlib import Path

import pytest

from ai_assistant.devices import facts

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz
flags\t\t: fpu vme sse sse2 avx f16c rdrand fma avx2 bmi2

processor\t: 1
model name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz
flags\t\t: fpu
"""
RASPBERRY = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid asimddp
CPU implementer\t: 0x41

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
MOUNTS = """/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
nas:/models /srv/models nfs4 rw 0 0
/dev/sdb1 /srv/models/local xfs rw 0 0
malformed
"""
APPLE = """machdep.cpu.brand_string: Apple M2
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.AdvSIMD: 1
"""
INTEL_MAC = """machdep.cpu.features: FPU SSE4.2 AVX1.0 FMA
machdep.cpu.leaf7_features: BMI1 AVX2
hw.optional.avx2_0: 1
hw.optional.avx512f: 0
"""


def test_an_x86_processor() -> None:
    name, features = facts.parse_cpuinfo(XEON)
    assert name == "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    assert {"avx2", "fma"} <= features


def test_an_arm_processor() -> None:
    name, features = facts.parse_cpuinfo(RASPBERRY)
    assert name == "Raspberry Pi 5 Model B Rev 1.0"
    assert {"asimd", "asimddp"} <= features


def test_no_text_is_no_features() -> None:
    assert facts.parse_cpuinfo("") == ("", frozenset())
    assert facts.parse_sysctl("") == frozenset()


def test_macs() -> None:
    assert {"asimd", "asimddp", "i8mm"} <= facts.parse_sysctl(APPLE)
    assert {"avx", "avx2"} <= facts.parse_sysctl(INTEL_MAC)
    assert "avx512f" not in facts.parse_sysctl(INTEL_MAC)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("-1 100000", None),
        ("50000 100000", 0.5),
        ("", None),
        ("1 0", None),
        ("nonsense", None),
    ],
)
def test_quotas(text: str, cores: float | None) -> None:
    assert facts.parse_quota(text) == cores


def machine(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_control_groups_of_both_versions(tmp_path: Path) -> None:
    second = machine(tmp_path / "v2", {"sys/fs/cgroup/cpu.max": "200000 100000\n"})
    assert facts.read_quota(second) == 2.0
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    files |= {"memory/memory.limit_in_bytes": "9223372036854771712\n"}
    first = machine(tmp_path / "v1", {f"sys/fs/cgroup/{name}": t for name, t in files.items()})
    assert facts.read_quota(first) is None
    assert facts.read_memory_limit(first) == (None, 0)
    assert facts.read_quota(tmp_path) is None


def test_a_containers_memory_is_its_limit(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "300000000\n"}
    root = machine(tmp_path, files | {"sys/fs/cgroup/memory.current": "100000000\n"})
    assert facts.read_memory_limit(root) == (300000000, 100000000)
    memory = facts.read_memory(root)
    assert memory.total == 300000000
    assert memory.available <= 200000000


@pytest.mark.parametrize("text", ["max\n", "", "9999999999999999999"])
def test_memory_without_a_limit(tmp_path: Path, text: str) -> None:
    root = machine(tmp_path, {"sys/fs/cgroup/memory.max": text})
    assert facts.read_memory_limit(root)[0] is None


@pytest.mark.parametrize(
    ("place", "remote"),
    [
        ("/home/me", False),
        ("/srv/models/big", True),
        ("/srv/models/local/x", False),
        ("/srv/modelsother", False),
    ],
)
def test_disks_behind_a_network(place: str, remote: bool) -> None:
    assert facts.is_network(MOUNTS, Path(place)) is remote


@pytest.mark.parametrize(
    ("name", "rotational", "kind"),
    [
        ("nvme0n1", False, "nvme"),
        ("sda", False, "ssd"),
        ("sda", True, "hdd"),
        ("vda", True, "unknown"),
    ],
)
def test_speed_classes(name: str, rotational: bool, kind: str) -> None:
    assert facts.disk_kind(name, rotational=rotational) == kind


def test_a_folder_that_does_not_exist_is_on_its_parents_disk(tmp_path: Path) -> None:
    assert facts.read_disk(tmp_path / "a/b").free > 0


def test_nvidias_driver() -> None:
    text = "NVIDIA GeForce RTX 3090, 24576 MiB\nTesla T4, 15360 MiB\n"
    assert facts.parse_nvidia(text) == (
        "NVIDIA GeForce RTX 3090, 24576 MiB",
        "Tesla T4, 15360 MiB",
    )
    assert facts.parse_nvidia("No devices were found\n") == ()


def test_render_nodes(tmp_path: Path) -> None:
    files = {"sys/class/drm/renderD128/device/vendor": "0x8086\n"}
    files |= {"sys/class/drm/renderD129/device/vendor": "0x1002\n"}
    assert facts.read_gpus(machine(tmp_path, files)).vendors == ("Intel", "AMD")


def test_a_missing_or_failing_program_says_nothing() -> None:
    assert facts.run_quietly(["no-such-program-here"]) == ""
    assert facts.run_quietly(["sh", "-c", "echo x; exit 3"]) == ""
    assert facts.run_quietly(["sleep", "5"], timeout=0.05) == ""


def test_this_machine_can_be_read() -> None:
    cpu = facts.read_cpu()
    assert 1 <= cpu.usable <= cpu.logical
    assert 0 < facts.read_memory().available <= facts.read_memory().total
