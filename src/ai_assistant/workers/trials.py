"""Trials of a model's layers on this machine, in processes of their own."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from ai_assistant.devices.layout.costs import CASES, DEPTH, Costs, Curve, costs, stand_ins
from ai_assistant.devices.layout.predict import NEVER, Bench
from ai_assistant.protocol.errors import EngineError
from ai_assistant.protocol.layout import Case, ModelAnatomy, Trial, TrialReport
from ai_assistant.store.twin import write_twin

SECONDS = 0.25
"""For the repetitions of one step."""
PATIENCE = 600.0
"""Seconds that one trial may take."""
ALL = 1_000
"""More layers than any model has."""


def run_trial(trial: Trial) -> TrialReport:
    """Raises `EngineError` with the kernels' reason."""
    command = (sys.executable, "-m", "ai_assistant.engine.trial")
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(trial),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"A trial of {trial.path} took more than {PATIENCE:.0f} s.") from None
    try:
        report = msgspec.json.decode(done.stdout, type=TrialReport)
    except msgspec.DecodeError:
        raise EngineError(
            f"The kernels ended in a trial of {trial.path} (exit code {done.returncode})."
        ) from None
    if report.error:
        raise EngineError(f"The kernels refused a trial of {trial.path}: {report.error}")
    return report


class Measuring:
    """Times stand-ins of one model, in all ways that a plan may choose from."""

    def __init__(
        self, model: Path, anatomy: ModelAnatomy, on_progress: Callable[[float], None]
    ) -> None:
        """`on_progress` hears how much is done, from 0 to 1."""
        self._model = model
        self._anatomy = anatomy
        self._layers = stand_ins([layer.bytes for layer in anatomy.layers])
        self._on_progress = on_progress
        self._done = self._all = 0

    def measure(self, threads: tuple[int, ...], gpu: str | None, *, chunk: int = 512) -> Bench:
        """With each number of threads, and on the device that the kernels call `gpu`.

        Raises `EngineError` where the kernels refuse, `OSError` where there is no room for files.
        """
        self._all = 2 * len(threads) + (3 if gpu else 0)
        with tempfile.TemporaryDirectory(prefix="ai-assistant-twins-") as folder:
            files = [Path(folder, f"{count}.gguf") for count in self._layers]
            for file, count in zip(files, self._layers, strict=True):
                write_twin(self._model, file, count)
            cpu = {
                count: self._costs(files, gpu_layers=0, threads=count, chunk=chunk, device="CPU")
                for count in threads
            }
            if not gpu:
                return Bench(cpu=cpu)
            most = max(threads)
            on_gpu = self._costs(files, gpu_layers=ALL, threads=most, chunk=chunk, device=gpu)
            crossing = self._crossing(files[1], cpu[most], on_gpu, most, chunk)
        return Bench(cpu=cpu, gpu=on_gpu, crossing=crossing)

    def _costs(
        self, files: list[Path], *, gpu_layers: int, threads: int, chunk: int, device: str
    ) -> Costs:
        short, long = (
            self._run(file, gpu_layers=gpu_layers, threads=threads, chunk=chunk) for file in files
        )
        return costs(short, long, self._layers, device)

    def _crossing(self, file: Path, cpu: Costs, gpu: Costs, threads: int, chunk: int) -> Curve:
        """What the longer stand-in costs on both devices, beyond its layers."""
        on_gpu = self._layers[1] // 2
        on_cpu = self._layers[1] - on_gpu
        report = self._run(file, gpu_layers=on_gpu + 1, threads=threads, chunk=chunk)
        flat = [one for one in report.times if not one.case.depth]
        if not flat:
            return NEVER
        more = [
            one.seconds
            - on_cpu * cpu.layer.at(one.case.tokens)
            - on_gpu * gpu.layer.at(one.case.tokens)
            - gpu.outside.at(one.case.tokens)
            for one in flat
        ]
        return Curve(tuple(one.case.tokens for one in flat), tuple(max(x, 0.0) for x in more))

    def _run(self, file: Path, *, gpu_layers: int, threads: int, chunk: int) -> TrialReport:
        trial = Trial(
            path=str(file),
            cases=_cases(chunk),
            gpu_layers=gpu_layers,
            threads=threads,
            chunk=chunk,
            seconds=SECONDS,
        )
        report = run_trial(trial)
        self._done += 1
        self._on_progress(self._done / self._all)
        return report


def _cases(chunk: int) -> tuple[Case, ...]:
    return CASES if chunk >= DEPTH else tuple(case for case in CASES if case.tokens <= chunk)
