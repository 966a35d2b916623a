"""The process that trials run in, seen from outside."""

import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, cast

import msgspec
import psutil

from ai_assistant.protocol.errors import EngineError
from ai_assistant.protocol.layout import Trial, TrialReport

PATIENCE = 600.0
"""Seconds that one trial may take."""
_LOOK = 0.05
"""Seconds between two looks whether a trial should stop."""
_COMMAND = (sys.executable, "-m", "ai_assistant.workers.trials_child")


class Stopped(Exception):
    """Somebody needs the machine: what was measured so far is kept by whoever measures."""


class Runner(Protocol):
    """Where trials run, one after the other."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def run(self, trial: Trial) -> TrialReport:
        """Raises `EngineError` with the kernels' reason, `Stopped`."""
        ...

    def others(self) -> float:
        """Seconds of processor time since the start that went to others than this process and the
        trials; on a virtual machine also to other machines of its host."""
        ...


class TrialProcess:
    """A process of its own that runs trials one after the other; a context manager."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        """Whoever sets `stop` ends a trial soon."""
        self._stop = stop
        self._child = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ear = threading.Thread(target=self._listen, name="trials", daemon=True)
        self._ear.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()
        self._child.wait()
        self._ear.join()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):
                cast("Any", pipe).close()

    def run(self, trial: Trial) -> TrialReport:
        """As in `Runner`."""
        with suppress(BrokenPipeError):
            order = cast("Any", self._child.stdin)
            order.write(msgspec.json.encode(trial) + b"\n")
            order.flush()
        return _report(self._answer(trial), trial)

    def others(self) -> float:
        """As in `Runner`."""
        times = cast("Any", psutil.cpu_times())
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = time.process_time()
        with suppress(psutil.Error):
            own += sum(psutil.Process(self._child.pid).cpu_times()[:2])
        return sum(times[:7]) + getattr(times, "steal", 0.0) - idle - own

    def _listen(self) -> None:
        for line in cast("Any", self._child.stdout):
            self._answers.put(line)
        self._answers.put(b"")

    def _answer(self, trial: Trial) -> bytes:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self._stop and self._stop.is_set():
                raise Stopped
            with suppress(queue.Empty):
                return self._answers.get(timeout=_LOOK if self._stop else PATIENCE)
        raise EngineError(f"A trial of {trial.path} took more than {PATIENCE:.0f} s.")


def _report(answer: bytes, trial: Trial) -> TrialReport:
    try:
        report = msgspec.json.decode(answer, type=TrialReport)
    except msgspec.DecodeError:
        raise EngineError(f"The kernels ended in a trial of {trial.path}.") from None
    if report.error:
        raise EngineError(f"The kernels refused a trial of {trial.path}: {report.error}")
    return report


def run_trial(trial: Trial, stop: threading.Event | None = None) -> TrialReport:
    """A single one. Raises `EngineError` with the kernels' reason, `Stopped` soon after `stop` is
    set."""
    with TrialProcess(stop) as process:
        return process.run(trial)


def cores_of_others(process: Runner, before: float, begun: float) -> float:
    """That they used on average since then."""
    return (process.others() - before) / max(time.monotonic() - begun, 1e-3)
