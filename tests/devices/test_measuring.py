"""Measuring: real memory and a real disk; the kernels' part is in tests/engine."""

import threading
import time
from pathlib import Path

import pytest
from msgspec import structs
from tests.devices.machines import profile_of

from ai_assistant.devices.measure import measure, thread_counts
from ai_assistant.devices.measure.disk import measure_disk
from ai_assistant.devices.measure.memory import measure_memory
from ai_assistant.devices.measure.polite import Others, busy_cores
from ai_assistant.devices.profile import Memory, Profile, ThreadRate
from ai_assistant.protocol.kernels import DeviceSpeed, MeasureTask


class Crowd(Others):
    """Other programs that are as busy as the test says."""

    def __init__(self, *, busy: bool, patience: float = 0.3) -> None:
        super().__init__(patience)
        self.busy = busy
        self.looks = 0

    def quiet(self) -> bool:
        self.looks += 1
        return not self.busy


class Kernels:
    """Answers like the kernels' process, and remembers what it was asked."""

    def __init__(self, *, works: bool = True, seconds: float = 0) -> None:
        self.asked: list[MeasureTask] = []
        self._works = works
        self._seconds = seconds

    def __call__(self, task: MeasureTask) -> DeviceSpeed | None:
        self.asked.append(task)
        time.sleep(self._seconds)
        return DeviceSpeed(device=task.device, copy_bytes_per_second=1e9) if self._works else None


def test_memory_is_read_at_a_speed_that_memory_has():
    one, two = measure_memory((1, 2), buffer_bytes=64 << 20, seconds=0.4)
    assert (one.threads, two.threads) == (1, 2)
    for rate in (one, two):
        assert 2e8 < rate.bytes_per_second < 5e12


def test_too_little_memory_is_not_measured():
    assert measure_memory((1, 2, 4), buffer_bytes=4 << 20, seconds=0.1) == ()


def test_a_disk_is_read_past_the_cache_and_nothing_is_left_behind(tmp_path: Path):
    speed = measure_disk((str(tmp_path),), 0.5)
    assert list(tmp_path.iterdir()) == []
    if speed is None:
        pytest.skip("the file system below the tests' folder is always in memory")
    assert speed.method in ("direct", "dropped")
    assert speed.sequential is not None
    assert 1e5 < speed.sequential < 1e12
    assert speed.random_4k is not None
    assert speed.random_4k < speed.sequential


def test_a_model_is_read_where_there_is_one(tmp_path: Path):
    model = tmp_path / "deep" / "model.gguf"
    model.parent.mkdir()
    model.write_bytes(bytes(70 << 20))
    before = model.stat()
    speed = measure_disk((str(tmp_path),), 0.2)
    assert speed is not None
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "model.gguf"]
    assert model.stat().st_mtime == before.st_mtime


def test_a_folder_that_is_not_there_has_no_speed(tmp_path: Path):
    assert measure_disk((str(tmp_path / "none"),), 0.1) is None


def test_the_load_of_others_is_seen_and_our_own_is_not():
    stop = threading.Event()

    def own_work() -> None:
        while not stop.is_set():
            sum(range(1000))

    before = busy_cores(0.3)
    thread = threading.Thread(target=own_work)
    thread.start()
    beside = busy_cores(0.3)
    stop.set()
    thread.join()
    assert beside < before + 0.7


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("laptop-i7-1370p", (1, 2, 4, 6, 8, 14)),
        ("container-quota", (1, 2, 4, 6)),
        ("mac-mini-m4", (1, 2, 4, 8, 10)),
        ("vm-azure-8272cl", (1, 2)),
        ("server-8x-h100", (1, 2, 4, 8, 16, 32, 64, 104)),
    ],
)
def test_threads_are_counted_where_the_curve_bends(name: str, counts: tuple[int, ...]):
    assert thread_counts(profile_of(name)) == counts


def eight_cards_here() -> Profile:
    """With no more threads than this machine has cores."""
    small = profile_of("vm-azure-8272cl")
    return structs.replace(
        profile_of("server-8x-h100"), cpu=small.cpu, memory=small.memory, disks=()
    )


def test_every_usable_device_is_measured_once():
    kernels, told = Kernels(), list[tuple[str, float]]()
    profile = measure(
        eight_cards_here(),
        kernels,
        now="now",
        tell=lambda name, share: told.append((name, share)),
        others=Crowd(busy=False),
    )
    assert [one.device for one in kernels.asked] == ["CPU", *(f"CUDA{i}" for i in range(8))]
    assert all(one.speed for one in profile.accelerators)
    assert kernels.asked[0].seconds < 4  # There are more parts than time.
    assert (profile.measured_at, profile.disturbed) == ("now", False)
    assert told[-1] == ("", 1.0)
    assert [share for _, share in told] == sorted(share for _, share in told)


def test_a_card_that_was_not_measured_is_as_fast_as_its_sister():
    profile = eight_cards_here()
    first = structs.replace(profile.accelerators[0], speed=DeviceSpeed(device="CUDA0"))
    profile = structs.replace(profile, accelerators=(first, *profile.accelerators[1:]))
    assert profile.speed_of(profile.accelerators[7]) == first.speed
    assert eight_cards_here().speed_of(first) == first.speed
    assert eight_cards_here().speed_of(profile.accelerators[7]) is None


def test_a_device_that_cannot_be_measured_has_no_speed():
    profile = measure(
        profile_of("workstation-rtx-3090"), Kernels(works=False), seconds=2, now="now",
        others=Crowd(busy=False),
    )  # fmt: skip
    assert profile.accelerators[0].speed is None
    assert (profile.cpu.matrices, profile.measured_at) == ((), "now")


def test_time_ends_measuring_even_where_drivers_are_slow():
    begun = time.monotonic()
    kernels = Kernels(seconds=0.5)
    profile = measure(eight_cards_here(), kernels, now="now", seconds=2.0, others=Crowd(busy=False))
    assert time.monotonic() - begun < 4
    assert len(kernels.asked) < 9
    assert profile.accelerators[-1].speed is None


def test_it_waits_for_others_and_then_says_that_it_was_disturbed():
    crowd = Crowd(busy=True)
    profile = measure(profile_of("vm-azure-8272cl"), Kernels(), now="now", others=crowd, seconds=2)
    assert profile.disturbed
    assert crowd.looks > 2


def test_an_interruption_ends_it_at_once():
    def interrupted(_task: MeasureTask) -> DeviceSpeed | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(
            profile_of("vm-azure-8272cl"),
            interrupted,
            now="now",
            others=Crowd(busy=False),
            seconds=2,
        )


def test_the_fewest_threads_that_get_nearly_everything_are_the_best():
    rates = tuple(ThreadRate(n, r) for n, r in ((1, 10e9), (2, 19e9), (4, 29.5e9), (8, 30e9)))
    memory = Memory(total_bytes=1, free_bytes=1, machine_bytes=1, read=rates)
    assert memory.best_read == rates[2]
    assert Memory(total_bytes=1, free_bytes=1, machine_bytes=1).best_read is None
