"""The profile on disk."""

import stat
from pathlib import Path

import pytest
from msgspec import structs
from tests.devices.machines import FOLDERS, profile_of, recorded, text_of

from ai_assistant.devices import stored
from ai_assistant.devices.profile import DiskSpeed, Profile, ThreadRate
from ai_assistant.devices.recording import Recording
from ai_assistant.protocol.kernels import DeviceSpeed, MatrixRate

NAME = "workstation-rtx-3090"
PRODUCT = MatrixRate(
    weights="q4_K", tokens=1, threads=8, seconds=0.01, weight_bytes=10**9, elements=2 * 10**9
)


def measured() -> Profile:
    profile = profile_of(NAME)
    (card,), (disk,) = profile.accelerators, profile.disks
    return structs.replace(
        profile,
        measured_at="2026-11-22T01:00:00+00:00",
        cpu=structs.replace(profile.cpu, matrices=(PRODUCT,), launch_seconds=3e-6),
        memory=structs.replace(profile.memory, free_bytes=1, read=(ThreadRate(8, 40e9),)),
        accelerators=(structs.replace(card, speed=DeviceSpeed(device="CUDA0", threads=0)),),
        disks=(structs.replace(disk, speed=DiskSpeed(sequential=3e9)),),
    )


def test_what_was_measured_comes_back_with_what_is_free_now(tmp_path: Path):
    stored.save(tmp_path, measured())
    now = stored.current(recorded(NAME), FOLDERS, tmp_path)
    assert now.measured_at == "2026-11-22T01:00:00+00:00"
    assert now.memory.read == (ThreadRate(8, 40e9),)
    assert now.memory.free_bytes == profile_of(NAME).memory.free_bytes
    assert now.cpu.matrices == (PRODUCT,)
    assert now.accelerators[0].speed is not None
    assert now.disks[0].speed == DiskSpeed(sequential=3e9)


def test_a_quick_look_without_the_kernels_keeps_their_devices(tmp_path: Path):
    stored.save(tmp_path, measured())
    now = stored.current(recorded(NAME), FOLDERS, tmp_path, with_kernels=False)
    assert now.accelerators[0].device == "CUDA0"
    assert now.accelerators[0].speed is not None


def test_free_memory_of_cards_is_of_now_even_then(tmp_path: Path):
    stored.save(tmp_path, measured())
    text = text_of(NAME).replace('"memory_free": 25165824000', '"memory_free": 5000', 1)
    now = stored.current(Recording(text), FOLDERS, tmp_path, with_kernels=False)
    assert now.accelerators[0].memory_free_bytes == 5000


def test_a_new_disk_has_no_speed_and_the_rest_keeps_its_own(tmp_path: Path):
    stored.save(tmp_path, measured())
    changed = Recording(text_of(NAME).replace("SN850X", "SN770"))
    now = stored.current(changed, FOLDERS, tmp_path)
    assert (now.disks[0].model, now.disks[0].speed) == ("WD_BLACK SN770 1000GB", None)
    assert now.memory.read == (ThreadRate(8, 40e9),)


def test_kernels_that_no_longer_start_have_no_devices(tmp_path: Path):
    stored.save(tmp_path, measured())
    text = text_of(NAME).partition(">>> kernels")[0] + ">>> stamp cuda"
    now = stored.current(Recording(text), FOLDERS, tmp_path)
    assert (now.kernels, now.usable_accelerators) == (None, ())
    assert now.kernels_error is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("i9-11900K", "i7-11700K"),
        ("MemTotal:       65011712", "MemTotal:       32505856"),
        ("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090"),
        (">>> stamp cuda", ">>> stamp vulkan"),
    ],
)
def test_new_hardware_is_measured_anew(tmp_path: Path, old: str, new: str):
    stored.save(tmp_path, measured())
    changed = Recording(text_of(NAME).replace(old, new))
    now = stored.current(changed, FOLDERS, tmp_path)
    assert now.measured_at is None
    assert (now.memory.read, now.cpu.matrices) == ((), ())
    assert all(one.speed is None for one in [*now.accelerators, *now.disks])


@pytest.mark.parametrize(
    ("old", "new"),
    [("MemAvailable:   42991616", "MemAvailable:   12991616"), ("temp1_input = 41000", "x = 1")],
)
def test_a_warm_and_busy_machine_is_the_same_machine(tmp_path: Path, old: str, new: str):
    stored.save(tmp_path, measured())
    changed = Recording(text_of(NAME).replace(old, new))
    assert stored.current(changed, FOLDERS, tmp_path).measured_at is not None


def test_the_file_is_for_its_owner_and_whole(tmp_path: Path):
    folder = tmp_path / "data"
    path = stored.save(folder, measured())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in folder.iterdir()] == [stored.FILE]
    assert stored.load(folder) == measured()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\udcff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str):
    (tmp_path / stored.FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert stored.load(tmp_path) is None
    assert stored.current(recorded(NAME), FOLDERS, tmp_path).measured_at is None


def test_a_profile_of_another_version_is_not_used(tmp_path: Path):
    stored.save(tmp_path, structs.replace(measured(), version=0))
    assert stored.load(tmp_path) is None


def test_a_disk_that_refuses_leaves_the_old_profile(tmp_path: Path):
    stored.save(tmp_path, measured())
    old = (tmp_path / stored.FILE).read_bytes()
    blocked = tmp_path / f".{stored.FILE}.blocked"
    blocked.mkdir()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        stored.save(tmp_path / "file", measured())
    assert (tmp_path / stored.FILE).read_bytes() == old
