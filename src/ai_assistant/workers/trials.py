"""Trials of a model's layers on this machine, in processes of their own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
from msgspec import structs

from ai_assistant.devices.layout.costs import (
    FREE,
    Costs,
    Curve,
    cases,
    costs,
    deep_one,
    flat,
    small,
    stand_ins,
)
from ai_assistant.devices.layout.predict import Bench
from ai_assistant.devices.probe.disks import read_disks
from ai_assistant.devices.source import ThisMachine
from ai_assistant.protocol.errors import EngineError
from ai_assistant.protocol.layout import ModelAnatomy, Trial, TrialReport
from ai_assistant.protocol.scratch import scratch_folder, sweep
from ai_assistant.store.twin import VARIETY, write_twin

SECONDS = 0.15
"""For the repetitions of one step."""
PATIENCE = 600.0
"""Seconds that one trial may take."""
ALL = 1_000
"""More layers than any model has."""
TRIES = 3
AGAIN_SECONDS = 20.0
"""For repetitions of disturbed trials, of one model together."""
PASSES = 2
"""For models that a cache could hold: their trials take seconds, and vary from one to the next."""
FILLED = 2 << 30
"""Bytes of stand-ins that are written to time a model; larger ones are of zeros."""
DISTURBED = 0.25
"""Cores that others may use while something is timed."""
_LOOK = 0.05
"""Seconds between two looks whether a trial should stop."""


class Stopped(Exception):
    """Somebody needs the machine: what was measured so far is kept by whoever measures."""


def run_trial(trial: Trial, stop: threading.Event | None = None) -> TrialReport:
    """Raises `EngineError` with the kernels' reason, `Stopped` soon after `stop` is set."""
    command = (sys.executable, "-m", "ai_assistant.engine.trial")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            answer = _talk(child, msgspec.json.encode(trial), stop)
        except BaseException:
            child.kill()
            raise
    if answer is None:
        raise EngineError(f"A trial of {trial.path} took more than {PATIENCE:.0f} s.")
    try:
        report = msgspec.json.decode(answer, type=TrialReport)
    except msgspec.DecodeError:
        raise EngineError(
            f"The kernels ended in a trial of {trial.path} (exit code {child.returncode})."
        ) from None
    if report.error:
        raise EngineError(f"The kernels refused a trial of {trial.path}: {report.error}")
    return report


def run_in_peace(
    trial: Trial, stop: threading.Event | None = None, seconds: float = AGAIN_SECONDS
) -> tuple[TrialReport, bool]:
    """Run it again where other programs computed meanwhile, and take the least of each step.

    `seconds`: for that, at most. Also says whether it ever had the machine for itself.
    """
    best: TrialReport | None = None
    left, end = TRIES, 0.0
    while True:
        before, begun = _others(), time.monotonic()
        report = run_trial(trial, stop)
        now = time.monotonic()
        end = end or now + seconds
        others = (_others() - before) / max(now - begun, 1e-3)
        report = best = _least(report, best)
        left -= 1
        if others < DISTURBED or not left or now + (now - begun) > end:
            return report, others < DISTURBED


def _least(report: TrialReport, earlier: TrialReport | None) -> TrialReport:
    """With the shorter one of the two times of each step."""
    known = {one.case: one for one in earlier.times} if earlier else {}
    times = (
        min(one, known.get(one.case, one), key=lambda timed: timed.seconds) for one in report.times
    )
    return structs.replace(report, times=tuple(times))


def _others() -> float:
    """Seconds of processor time that went to others than this process and its children; on a
    virtual machine also to other machines of its host."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    own = sum(os.times()[:4])
    return sum(times[:7]) + getattr(times, "steal", 0.0) - idle - own


def _talk(
    child: subprocess.Popen[bytes], order: bytes, stop: threading.Event | None
) -> bytes | None:
    """Its answer; None where it takes too long."""
    end = time.monotonic() + PATIENCE
    given: bytes | None = order
    while time.monotonic() < end:
        if stop and stop.is_set():
            raise Stopped
        with suppress(subprocess.TimeoutExpired):
            return child.communicate(given, timeout=_LOOK if stop else PATIENCE)[0]
        given = None  # It is on its way already.
    child.kill()
    return None


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan may choose from."""

    threads: tuple[int, ...]
    gpus: tuple[str, ...] = ()
    """As the kernels name them, in their order."""
    chunk: int = 512
    """The largest step."""
    kv_type: str = "f16"
    nice: int = 0
    """How far the trials step back behind other programs."""


class Measuring:
    """Times stand-ins of one model, in all ways that a plan may choose from."""

    def __init__(
        self,
        model: Path,
        anatomy: ModelAnatomy,
        on_progress: Callable[[float], None],
        *,
        stop: threading.Event | None = None,
        known: dict[bytes, TrialReport] | None = None,
    ) -> None:
        """`on_progress` hears how much is done, from 0 to 1. `known` keeps what was measured, so
        that whoever was stopped goes on where he was."""
        self._model = model
        self._anatomy = anatomy
        self._sizes = [layer.bytes for layer in anatomy.layers]
        self._outside = anatomy.embedding.bytes + anatomy.output.bytes
        self._layers = stand_ins(self._sizes)
        self._on_progress = on_progress
        self._stop = stop
        self._known = {} if known is None else known
        self._done = self._all = 0
        self._disturbed = self._again = False
        self._patience = AGAIN_SECONDS

    def measure(self, ways: Ways) -> Bench:
        """Raises `EngineError` where the kernels refuse, `OSError` where there is no room for
        files, `Stopped`."""
        gpus = len(ways.gpus)
        passes = PASSES if small(self._sizes) and not gpus else 1
        self._all = 2 * len(ways.threads) + (2 * gpus + 5 + (gpus > 1) if gpus else 0)
        self._all *= passes
        self._done = 0
        self._disturbed = self._again = False
        sweep()
        with scratch_folder("twins") as folder:
            self._folder = folder
            for count in self._layers:
                write_twin(self._model, self._file(count), count, filled=self._filled(ways))
            bench = self._bench(ways)
            for _ in range(passes - 1):
                self._again = True
                bench = self._bench(ways)
        return structs.replace(bench, disturbed=self._disturbed)

    def _filled(self, ways: Ways) -> bool:
        """Whether the stand-ins have weights of their own: on a processor that tells, and there
        must be room for them, on a disk that is no memory."""
        if ways.gpus:
            return False
        (disk,) = read_disks(ThisMachine(), (str(self._folder),))
        need = sum(sum(self._sizes[:count]) + self._outside for count in self._layers)
        return disk.kind != "memory" and need < min(FILLED, (disk.free_bytes or 0) // 4)

    def _file(self, layers: int) -> Path:
        return self._folder / f"{layers}.gguf"

    def _bench(self, ways: Ways) -> Bench:
        most = max(ways.threads)
        basis = Trial(
            path="",
            cases=(),
            threads=most,
            chunk=ways.chunk,
            kv_type=ways.kv_type,
            tokens=VARIETY if self._anatomy.experts else 1,
            seconds=SECONDS,
            nice=ways.nice,
            load_mode="read" if ways.gpus else "auto",
        )
        cpu = {
            count: self._costs(structs.replace(basis, threads=count), "CPU")
            for count in ways.threads
        }
        if not ways.gpus:
            return Bench(cpu=cpu)
        whole = structs.replace(basis, gpu_layers=ALL)
        gpus = tuple(
            self._costs(structs.replace(whole, tensor_split=_only(index, ways.gpus)), name)
            for index, name in enumerate(ways.gpus)
        )
        first = structs.replace(whole, tensor_split=_only(0, ways.gpus))
        mixed = self._costs(structs.replace(first, feeds_on_cpu=ALL), ways.gpus[0])
        # Here the processor computes prompts too: a line through smaller steps is enough.
        apart = structs.replace(basis, host_buffers=False, chunk=min(ways.chunk, 512))
        half = structs.replace(first, gpu_layers=self._layers[1] // 2 + 1)
        return Bench(
            cpu=cpu,
            gpus=gpus,
            mixed=mixed,
            rearranged=self._costs(apart, "CPU"),
            crossing=self._beyond(half, cpu[most], gpus[0], gpus[0]),
            between=self._between(whole, gpus) if len(gpus) > 1 else FREE,
        )

    def _costs(self, trial: Trial, device: str) -> Costs:
        short, long = (self._run(trial, layers) for layers in self._layers)
        return costs(short, long, self._layers, device)

    def _between(self, whole: Trial, gpus: tuple[Costs, ...]) -> Curve:
        """From the first GPU to the second."""
        second = self._layers[1] // 2
        shares = (float(self._layers[1] - second), second + 1.0)  # The output is one more.
        return self._beyond(structs.replace(whole, tensor_split=shares), gpus[0], gpus[1], gpus[1])

    def _beyond(self, trial: Trial, one: Costs, other: Costs, last: Costs) -> Curve:
        """What the longer stand-in, its second half on another device, costs beyond its layers."""
        second = self._layers[1] // 2
        first = self._layers[1] - second
        found = flat(self._run(trial, self._layers[1], deep=False))
        more = {
            tokens: seconds
            - first * one.layer.at(tokens)
            - second * other.layer.at(tokens)
            - last.outside.at(tokens)
            for tokens, seconds in found.items()
        }
        steps = sorted(more)
        return Curve(tuple(steps), tuple(max(more[tokens], 0.0) for tokens in steps))

    def _run(self, trial: Trial, layers: int, *, deep: bool | None = None) -> TrialReport:
        deep = layers == deep_one(self._layers, self._sizes) if deep is None else deep
        straight = not trial.gpu_layers
        steps = cases(trial.chunk, self._anatomy.context, deep=deep, straight=straight)
        trial = structs.replace(trial, cases=steps)
        name = msgspec.json.encode((trial, layers))
        if self._again or name not in self._known:
            placed = structs.replace(trial, path=str(self._file(layers)))
            begun = time.monotonic()
            report, quiet = run_in_peace(placed, self._stop, self._patience)
            self._known[name] = _least(report, self._known.get(name))
            if not quiet:
                self._disturbed = True
                self._patience = max(self._patience - (time.monotonic() - begun), 0.0)
        self._done += 1
        self._on_progress(self._done / self._all)
        return self._known[name]


def _only(index: int, gpus: tuple[str, ...]) -> tuple[float, ...]:
    """Shares that leave all to one GPU."""
    return tuple(float(place == index) for place in range(len(gpus))) if len(gpus) > 1 else ()
