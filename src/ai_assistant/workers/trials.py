"""Trials of a model's layers on this machine: passes over all of them, then over what differs."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil
from msgspec import structs

from ai_assistant.devices.layout.passes import Pass, doubt, doubted, least, wanted
from ai_assistant.devices.layout.predict import Bench
from ai_assistant.devices.probe import probe
from ai_assistant.devices.probe.disks import read_disks
from ai_assistant.devices.source import ThisMachine
from ai_assistant.protocol.layout import Case, ModelAnatomy, TrialReport
from ai_assistant.protocol.scratch import scratch_folder, sweep
from ai_assistant.store.twin import write_twin
from ai_assistant.workers.trials_list import Plan, Task, Ways
from ai_assistant.workers.trials_process import (
    Runner,
    Stopped,
    TrialProcess,
    cores_of_others,
    run_trial,
)
from ai_assistant.workers.trials_progress import Name, Progress

__all__ = ["Measuring", "Stopped", "Ways", "run_trial"]

PASSES, PASSES_IF_SMALL = 2, 3
"""Over all trials, one after the other: minutes of others disturb one of them."""
AGAIN = 2
"""Further passes over what was disturbed."""
AGAIN_SECONDS, AGAIN_SHARE = 20.0, 0.3
"""For those, at most: so long, or that share of what the passes before took."""
NEARLY = 0.97
"""The share that is told before it is sure that nothing must be repeated."""
FILLED = 3 << 30
"""Bytes of stand-ins that are written to time a model; larger ones are of zeros."""
DISTURBED, DISTURBED_SHARE = 0.25, 0.05
"""Cores that others may use while something is timed: so many, or that share of them."""


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
        start: Callable[[threading.Event | None], Runner] = TrialProcess,
    ) -> None:
        """`on_progress` hears how much is done, from 0 to 1. `known` keeps what was measured, so
        that whoever was stopped goes on where he was."""
        self._model = model
        self._anatomy = anatomy
        self._on_progress = on_progress
        self._stop = stop
        self._known = {} if known is None else known
        self._start = start
        self._passes: dict[Name, list[Pass]] = {}

    def measure(self, ways: Ways) -> Bench:
        """With the type of KV cache that is named first. Raises as `measure_all` does."""
        return self.measure_all(ways)[ways.kv_type]

    def measure_all(self, ways: Ways) -> dict[str, Bench]:
        """By type of KV cache. Raises `EngineError` where the kernels refuse, `OSError` where there
        is no room for files, `Stopped`."""
        plan = Plan(self._anatomy, ways, _last_cache())
        tasks = plan.tasks()
        self._passes = {task.name: [] for task in tasks}
        sweep()
        with scratch_folder("twins") as folder:
            self._folder = folder
            filled = self._filled(plan, ways)
            for count in plan.layers:
                write_twin(self._model, self._file(count), count, filled=filled)
            with self._start(self._stop) as process:
                few = plan.small and not ways.gpus
                busy = self._pass_over(process, tasks, PASSES_IF_SMALL if few else PASSES)
        reports = {name: least(passes) for name, passes in self._passes.items()}
        benches = plan.benches(reports)
        return {kind: structs.replace(one, disturbed=busy) for kind, one in benches.items()}

    def _filled(self, plan: Plan, ways: Ways) -> bool:
        """Whether the stand-ins have weights of their own: on a processor that tells, and so it
        does of mixtures, whose tokens choose by it; there must be room for them, on a disk that is
        no memory."""
        if ways.gpus and not self._anatomy.experts:
            return False
        (disk,) = read_disks(ThisMachine(), (str(self._folder),))
        sizes = [layer.bytes for layer in self._anatomy.layers]
        outside = self._anatomy.embedding.bytes + self._anatomy.output.bytes
        need = sum(sum(sizes[:count]) + outside for count in plan.layers)
        return disk.kind != "memory" and need < min(FILLED, (disk.free_bytes or 0) // 4)

    def _file(self, layers: int) -> Path:
        return self._folder / f"{layers}.gguf"

    def _pass_over(self, process: Runner, tasks: Sequence[Task], passes: int) -> bool:
        """Time all of it, and again what was disturbed; whether the machine stayed busy."""
        begun = time.monotonic()
        progress = Progress(tasks, passes)
        for turn in range(passes):
            for task in tasks:
                cases = wanted(task.trial.cases, self._passes[task.name])
                self._run(process, task, cases, turn, progress)
        end = time.monotonic() + max(AGAIN_SECONDS, AGAIN_SHARE * (time.monotonic() - begun))
        for turn in range(passes, passes + AGAIN):
            again = self._doubted(tasks)
            progress.again([task.name for task in again])
            for task in again:
                if time.monotonic() < end:
                    self._run(process, task, doubted(self._passes[task.name]), turn, progress)
        self._on_progress(1.0)
        return bool(self._doubted(tasks))

    def _doubted(self, tasks: Sequence[Task]) -> list[Task]:
        """The worst first."""
        found = [task for task in tasks if doubted(self._passes[task.name])]
        return sorted(found, key=lambda task: -doubt(self._passes[task.name]))

    def _run(
        self,
        process: Runner,
        task: Task,
        cases: Sequence[Case],
        turn: int,
        progress: Progress,
    ) -> None:
        trial = structs.replace(task.trial, cases=tuple(cases))
        key = msgspec.json.encode((trial, task.layers, turn))
        before, begun = process.others(), time.monotonic()
        quiet = True
        if cases and key not in self._known:
            placed = structs.replace(trial, path=str(self._file(task.layers)))
            self._known[key] = process.run(placed)
            quiet = cores_of_others(process, before, begun) < _unheard()
        if cases:
            self._passes[task.name].append(Pass(report=self._known[key], quiet=quiet))
        progress.done(task.name, time.monotonic() - begun)
        # What disagrees is repeated: how much that is shows at the end.
        self._on_progress(min(progress.share, NEARLY))


def _last_cache() -> int:
    return probe(ThisMachine(), now="", with_kernels=False).cpu.last_cache_bytes


def _unheard() -> float:
    """Cores of others that are not noticed."""
    return max(DISTURBED, DISTURBED_SHARE * (psutil.cpu_count() or 1))
