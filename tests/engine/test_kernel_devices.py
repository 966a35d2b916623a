"""The kernels' devices, listed and measured by the real kernels, in processes of their own."""

import subprocess
import sys

import msgspec
import pytest

from ai_assistant.devices.child import ask_kernels, ask_speed
from ai_assistant.engine.kernels.measure import measure
from ai_assistant.engine.kernels.workbench import Refused, quantised_rows, seconds_each
from ai_assistant.protocol.kernels import MeasureTask

QUICK = MeasureTask(
    device="CPU", threads=2, fewer_threads=(1,), weights=("q4_K", "f16"), tokens=(1, 8),
    seconds=0.8, memory_limit=128 << 20,
)  # fmt: skip


def test_the_processor_is_on_the_list():
    report = ask_kernels()
    assert report is not None
    assert (report.error, bool(report.version)) == (None, True)
    (cpu,) = (one for one in report.devices if one.kind == "cpu")
    assert (cpu.name, cpu.backend) == ("CPU", "CPU")
    assert cpu.memory_total > 1 << 28


def test_the_processor_is_measured_at_every_width_and_number_of_threads():
    speed = ask_speed(QUICK)
    assert speed is not None
    assert speed.copy_bytes_per_second is not None
    assert 1e8 < speed.copy_bytes_per_second < 1e13
    assert speed.launch_seconds is not None
    assert 0 < speed.launch_seconds < 1
    assert (speed.to_device_pinned, speed.boundary_seconds) == (None, None)  # It is no card.
    found = [(one.weights, one.tokens, one.threads) for one in speed.matrices]
    assert found[:3] == [("q4_K", 1, 1), ("q4_K", 1, 2), ("q4_K", 8, 2)]
    assert ("f16", 1, 2) in found
    for one in speed.matrices:
        assert 1e7 < one.bytes_per_second < 1e13
        assert 1e8 < one.flops_per_second < 1e16
    bits = 8 * speed.matrices[0].weight_bytes / speed.matrices[0].elements
    assert bits == 4.5  # As q4_K is laid out.


def test_measuring_takes_about_the_time_and_no_more_memory_than_it_may():
    speed = measure(msgspec.structs.replace(QUICK, weights=("q8_0",), seconds=0.5))
    assert speed.seconds < 6
    assert max(one.weight_bytes for one in speed.matrices) <= 64 << 20


def test_without_memory_there_are_no_products():
    assert measure(msgspec.structs.replace(QUICK, memory_limit=1 << 20)).matrices == ()


def test_an_unknown_device_is_refused():
    with pytest.raises(Refused, match="no device CUDA7"):
        measure(msgspec.structs.replace(QUICK, device="CUDA7"))
    assert ask_speed(msgspec.structs.replace(QUICK, device="CUDA7")) is None


def test_a_task_that_is_not_one_ends_with_a_reason():
    done = subprocess.run(
        [sys.executable, "-m", "ai_assistant.engine.devices", "{"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "truncated" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_that_dies_is_no_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ai_assistant.devices.child._ENTRY", "ai_assistant.no_such_module")
    assert ask_kernels() is None
    assert ask_speed(QUICK) is None


@pytest.mark.parametrize(("kind", "bits"), [("q4_K", 4.5), ("q8_0", 8.5), ("f16", 16), ("f32", 32)])
def test_rows_are_as_long_as_their_type_says(kind: str, bits: float):
    assert len(quantised_rows(kind, 512)) == 64 * 512 * bits / 8


def test_slow_work_is_done_once_and_quick_work_often():
    calls: list[int] = []
    seconds_each(lambda: calls.append(1), budget=0.01)
    assert len(calls) > 3
    assert seconds_each(lambda: sum(range(300_000)), budget=0.0) > 0
