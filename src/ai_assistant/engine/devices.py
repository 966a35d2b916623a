"""The kernels' devices as JSON: `python -m ai_assistant.engine.devices [TASK]`.

Without a task it prints a `KernelReport`. With one (JSON of a `MeasureTask`) it measures
that device and prints a `DeviceSpeed`. A process of its own: a broken driver takes nobody with it.
"""

import sys
from typing import TYPE_CHECKING

import msgspec

from ai_assistant.protocol.kernels import KernelReport, MeasureTask

if TYPE_CHECKING:
    from ai_assistant.protocol.kernels import DeviceSpeed


def report() -> KernelReport:
    """What the kernels find here, or why they do not start."""
    try:
        from ai_assistant.engine.kernels import devices, libllama

        return KernelReport(version=libllama.version(), devices=tuple(devices.devices()))
    except (ImportError, OSError, RuntimeError) as error:
        return KernelReport(error=str(error))


def speed(task: bytes) -> "DeviceSpeed":
    """What one device does; raises `SystemExit` with the reason if it does nothing."""
    from ai_assistant.engine.kernels import measure
    from ai_assistant.engine.kernels.workbench import Refused

    try:
        return measure.measure(msgspec.json.decode(task, type=MeasureTask))
    except (Refused, msgspec.DecodeError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    answer = speed(sys.argv[1].encode()) if len(sys.argv) > 1 else report()
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
