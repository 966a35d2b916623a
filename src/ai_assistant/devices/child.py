"""Asks the kernels from outside: a broken driver takes a process of its own down, not the node."""

import subprocess
import sys
from typing import TypeVar

import msgspec

from ai_assistant.protocol.kernels import DeviceSpeed, KernelReport, MeasureTask

Answer = TypeVar("Answer")
_ENTRY = "ai_assistant.engine.devices"
_START_SECONDS = 60.0
"""Drivers may take long to start, the first time above all."""


def ask_kernels() -> KernelReport | None:
    """All devices of the built kernels; None if their process ends without a word."""
    answer = _ask([])
    return None if answer is None else _decoded(answer, KernelReport)


def ask_speed(task: MeasureTask) -> DeviceSpeed | None:
    """One device measured; None if it could not be."""
    answer = _ask([msgspec.json.encode(task).decode()], more_seconds=2 * task.seconds)
    return None if answer is None else _decoded(answer, DeviceSpeed)


def _ask(arguments: list[str], *, more_seconds: float = 0) -> bytes | None:
    """The last line of the answer. Ctrl-C ends the child before it leaves here."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", _ENTRY, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS + more_seconds,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    return lines[-1] if lines else None


def _decoded(answer: bytes, kind: type[Answer]) -> Answer | None:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError:
        return None
