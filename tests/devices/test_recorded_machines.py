"""What the probe makes of real machines, recorded: see the head of each file for its source."""

import msgspec
import pytest
from tests.devices.machines import FOLDERS, NAMES, profile_of, recorded, text_of

from ai_assistant.devices.probe import probe
from ai_assistant.devices.profile import Cache, Cores, Profile, Sensor, Swap
from ai_assistant.devices.recording import Recorder, Recording

MIB, GIB = 1 << 20, 1 << 30


def caches(profile: Profile) -> set[tuple[int, int, int, str]]:
    return {(one.level, one.bytes >> 10, one.count, one.kind) for one in profile.cpu.caches}


def sensor(profile: Profile, name: str, reading: str) -> Sensor:
    (found,) = (s for s in profile.power.sensors if (s.name, s.reading) == (name, reading))
    return found


def test_there_are_enough_machines_and_each_names_its_source():
    assert len(NAMES) >= 10
    for name in NAMES:
        assert "Source: " in text_of(name).partition(">>> ")[0], name


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_makes_sense(name: str):
    profile = profile_of(name)
    cpu, memory = profile.cpu, profile.memory
    assert 1 <= cpu.compute_cores <= cpu.physical <= cpu.logical
    assert sum(one.cores * one.threads_per_core for one in cpu.kinds) == cpu.logical
    assert 0 < memory.free_bytes <= memory.total_bytes <= memory.machine_bytes
    assert profile.measured_at is None
    assert all(one.speed is None for one in [*profile.accelerators, *profile.disks])
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_of_a_recording_is_the_same_machine(name: str):
    recorder = Recorder(recorded(name))
    profile = probe(recorder, FOLDERS, now="now")
    again = Recording(recorder.text("again"))
    assert probe(again, FOLDERS, now="now") == profile


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_needs_no_kernels(name: str):
    quick = probe(recorded(name), FOLDERS, now="later", with_kernels=False)
    assert quick.fingerprint == profile_of(name).fingerprint


def test_fingerprints_tell_machines_apart_and_kernels_built_anew():
    assert len({profile_of(name).fingerprint for name in NAMES}) == len(NAMES)
    text = text_of("workstation-rtx-3090")
    other = Recording(text.replace(">>> stamp cuda", ">>> stamp vulkan"))
    profile = probe(other, FOLDERS, now="now")
    assert profile.fingerprint != profile_of("workstation-rtx-3090").fingerprint


def test_mini_pc_with_built_in_graphics():
    profile = profile_of("mini-pc-ryzen-8845hs")
    cpu = profile.cpu
    assert (cpu.physical, cpu.logical, cpu.sockets, cpu.hypervisor) == (8, 16, 1, False)
    assert cpu.instruction_sets is not None
    assert {"SSE4.2", "AVX2", "AVX-512-VNNI", "AVX-512-BF16"} <= set(cpu.instruction_sets)
    assert caches(profile) == {(1, 32, 8, "all"), (2, 1024, 8, "all"), (3, 16384, 1, "all")}
    assert profile.cpu.last_cache_bytes == 16 * MIB
    (card,) = profile.accelerators
    assert (card.device, card.backend, card.kind) == ("Vulkan0", "Vulkan", "igpu")
    assert (card.shares_memory, card.vendor, card.driver) == (True, "AMD", "amdgpu")
    (media,) = profile.media
    assert (media.kind, media.codecs) == ("VA-API", ("H264", "HEVC", "AV1"))
    (disk,) = profile.disks
    assert (disk.kind, disk.device, disk.filesystem) == ("nvme", "nvme0n1", "btrfs")
    assert disk.folders == FOLDERS
    assert sensor(profile, "amdgpu PPT", "power").value == 8.03
    energy = sensor(profile, "package-0", "energy")
    assert (energy.value, energy.wraps_at) == (None, 65532.610987)
    assert [(one.name, one.kind, one.bits_per_second) for one in profile.links] == [
        ("enp1s0", "ethernet", 2.5e9),
        ("podman0", "virtual", None),
        ("wlp2s0", "wifi", None),
    ]
    assert profile.offers.swaps is not None
    assert profile.offers.swaps[0] == Swap(
        path="/dev/zram0", kind="zram", total_bytes=8388604 << 10, used_bytes=632832 << 10
    )
    assert (profile.offers.zram_bytes, profile.offers.cgroup) == (8589930496, 2)


def test_mac_mini():
    profile = profile_of("mac-mini-m4")
    assert (profile.system, profile.model, profile.cpu.name) == ("Darwin", "Mac16,10", "Apple M4")
    assert profile.cpu.kinds == (
        Cores(kind="performance", cores=4, threads_per_core=1),
        Cores(kind="efficiency", cores=6, threads_per_core=1),
    )
    assert profile.cpu.instruction_sets == (
        "NEON", "FP16", "DOTPROD", "I8MM", "BF16", "SME", "SME2",
    )  # fmt: skip
    assert Cache(level=2, bytes=16 * MIB, count=1, kind="performance") in profile.cpu.caches
    assert profile.memory.total_bytes == 24 * GIB
    assert profile.memory.free_bytes == (412345 + 401220 + 12000 + 3210) * 16384
    assert profile.memory.swap_free_bytes == int(1535.75 * MIB)
    (card,) = profile.accelerators  # BLAS is no card.
    assert (card.device, card.backend, card.shares_memory) == ("MTL0", "Metal", True)
    assert [one.kind for one in profile.media] == ["VideoToolbox"]
    assert (profile.links[0].name, profile.links[0].bits_per_second) == ("en0", 1e9)
    assert not profile.links[1].up
    assert profile.disks[0].filesystem == "apfs"


def test_raspberry_pi_5():
    profile = profile_of("raspberry-pi-5")
    cpu = profile.cpu
    assert (profile.model, cpu.name) == ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76")
    assert (cpu.physical, cpu.logical, cpu.instruction_sets) == (4, 4, ("NEON", "FP16", "DOTPROD"))
    assert caches(profile) == {(1, 64, 4, "all"), (2, 512, 4, "all"), (3, 2048, 1, "all")}
    (card,) = profile.accelerators
    assert (card.name, card.device, card.kind) == ("graphics v3d", None, "igpu")
    assert [one.where for one in profile.media] == ["rpi-hevc-dec"]
    assert (profile.power.governor, profile.power.max_mhz) == ("ondemand", 2400)
    assert sensor(profile, "cpu-thermal", "temperature").limit == 110


def test_raspberry_pi_4_on_a_card_without_told_caches():
    profile = profile_of("raspberry-pi-4")
    assert (profile.cpu.name, profile.cpu.logical) == ("Cortex-A72", 4)
    assert profile.cpu.instruction_sets == ("NEON",)
    assert (profile.cpu.caches, profile.cpu.quota_cores) == ((), None)
    assert profile.cpu.last_cache_bytes == 0
    assert (profile.disks[0].kind, profile.offers.cgroup) == ("card", 1)
    assert [one.where for one in profile.media] == ["bcm2835-codec-decode"]
    assert profile.offers.pressure is False


def test_old_xeon_without_avx2():
    profile = profile_of("old-xeon-e5-2650v2")
    assert profile.cpu.instruction_sets == ("SSE4.2", "AVX", "F16C")
    (disk,) = profile.disks
    assert (disk.kind, disk.device, disk.model) == ("hdd", "sda", "ST2000DM001")  # Below LUKS.
    assert profile.accelerators == ()  # The server's console computes nothing.
    energy = sensor(profile, "package-0", "energy")
    assert (energy.value, energy.limit) == (123456.789012, 95)
    assert profile.offers.io_uring is False  # A kernel of 2014.


def test_numa_server_without_avx():
    profile = profile_of("numa-server-xeon-e7-4870")
    assert profile.cpu.instruction_sets == ("SSE4.2",)
    assert (profile.cpu.sockets, profile.cpu.physical, len(profile.cpu.numa)) == (4, 40, 4)
    assert profile.cpu.numa[1].cpus == tuple(range(1, 40, 4))
    assert profile.cpu.numa[1].total_bytes == 134217728 << 10
    assert (profile.disks[0].kind, profile.disks[0].filesystem) == ("network", "nfs")
    fast = next(one for one in profile.links if one.name == "qib0/1")
    assert (fast.kind, fast.up, fast.bits_per_second) == ("infiniband", True, 40e9)


def test_numa_server_that_the_kernels_do_not_start_on():
    profile = profile_of("numa-server-opteron-6134")
    assert profile.cpu.instruction_sets == ()  # They were read, and there are none.
    assert (profile.cpu.sockets, len(profile.cpu.numa)) == (4, 8)
    assert {one.count for one in profile.cpu.caches if one.level == 3} == {8}
    assert (profile.kernels, profile.kernels_error) == (None, "Illegal instruction")


def test_laptop_with_two_kinds_of_cores():
    profile = profile_of("laptop-i7-1370p")
    fast, slow = profile.cpu.kinds
    assert (fast.kind, fast.cores, fast.threads_per_core) == ("performance", 6, 2)
    assert (slow.kind, slow.cores, slow.threads_per_core) == ("efficiency", 8, 1)
    assert (fast.max_mhz, slow.max_mhz) == (5000, 3900)
    assert slow.cpus == tuple(range(12, 20))
    assert profile.cpu.physical == 14
    assert caches(profile) == {
        (1, 48, 6, "performance"),
        (2, 1280, 6, "performance"),
        (1, 32, 8, "efficiency"),
        (2, 2048, 2, "efficiency"),
        (3, 24576, 1, "all"),
    }
    assert profile.power.on_battery is True
    (card,) = profile.accelerators
    assert (card.kind, card.vendor, card.device) == ("igpu", "Intel", None)
    assert profile.disks[0].kind == "nvme"  # Through a volume named in /dev/mapper.


def test_workstation_with_one_card_that_two_backends_know():
    profile = profile_of("workstation-rtx-3090")
    (card,) = profile.accelerators
    assert (card.device, card.backend, card.pci) == ("CUDA0", "CUDA", "0000:01:00.0")
    assert (card.link_generation, card.link_lanes) == (4, 16)
    assert (card.power_limit_watts, card.power_limits_watts) == (330, (100, 480))
    assert card.memory_free_bytes == 24000 * MIB
    assert [one.kind for one in profile.media] == ["NVDEC"]
    assert sensor(profile, "NVIDIA GeForce RTX 3090", "temperature").limit == 98


def test_workstation_with_two_unlike_cards_that_no_kernels_were_built_for():
    profile = profile_of("workstation-two-cards")
    large, small, built_in = profile.accelerators
    assert profile.usable_accelerators == ()
    assert (large.name, large.memory_total_bytes) == ("NVIDIA GeForce RTX 5090", 32607 * MIB)
    assert (small.link_generation, small.link_lanes) == (4, 4)
    assert (built_in.kind, built_in.vendor) == ("igpu", "AMD")
    assert {(one.bytes // MIB, one.count) for one in profile.cpu.caches if one.level == 3} == {
        (96, 1),
        (32, 1),
    }


def test_server_with_eight_cards():
    profile = profile_of("server-8x-h100")
    assert [one.device for one in profile.accelerators] == [f"CUDA{i}" for i in range(8)]
    assert [one.numa_node for one in profile.accelerators] == [0] * 4 + [1] * 4
    assert (profile.cpu.sockets, profile.cpu.physical, profile.cpu.logical) == (2, 104, 208)
    assert profile.cpu.hypervisor is True
    assert len([one for one in profile.power.sensors if one.reading == "energy"]) == 8
    assert profile.links[-1].bits_per_second == 400e9
    assert profile.offers.io_uring is False  # Forbidden by the owner.


def test_container_with_a_quota():
    profile = profile_of("container-quota")
    assert (profile.cpu.logical, profile.cpu.usable, profile.cpu.quota_cores) == (24, 12, 6)
    assert profile.cpu.compute_cores == 6
    assert profile.memory.limit_bytes == profile.memory.total_bytes == 8 * GIB
    assert profile.memory.machine_bytes == 65787688 << 10
    # What is cached and idle can be dropped: 8 - (3 - 1.5).
    assert profile.memory.free_bytes == 6.5 * GIB
    assert profile.memory.pressure is not None
    assert (profile.memory.pressure.some_10s, profile.memory.pressure.full_60s) == (3.25, 0.5)
    assert profile.disks[0].kind == "unknown"


@pytest.mark.parametrize("name", ["vm-azure-8272cl", "vm-firecracker-epyc"])
def test_virtual_machines_say_so_and_their_disks_promise_nothing(name: str):
    profile = profile_of(name)
    assert (profile.cpu.hypervisor, profile.cpu.physical) == (True, 2)
    assert profile.disks[0].kind == "unknown"
    assert profile.cpu.instruction_sets is not None
    assert "AVX-512" in profile.cpu.instruction_sets


def test_arm_machine_whose_card_shares_its_memory():
    profile = profile_of("dgx-spark-gb10")
    assert [(one.kind, one.cores) for one in profile.cpu.kinds] == [
        ("performance", 10),
        ("efficiency", 10),
    ]
    assert profile.cpu.instruction_sets is not None
    assert {"SVE2", "I8MM", "BF16"} <= set(profile.cpu.instruction_sets)
    (card,) = profile.accelerators
    assert (card.device, card.shares_memory) == ("CUDA0", True)
    assert card.memory_total_bytes == 125508468 << 10
    assert (profile.power.min_mhz, profile.power.max_mhz) == (338, 3900)
