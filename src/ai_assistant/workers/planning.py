"""Plans for models that are about to be loaded: facts gathered, decided, told, learned from."""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from msgspec import structs

from ai_assistant.devices.beyond import fits, need
from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.facts import read_cpu, read_memory
from ai_assistant.devices.gpus import Gpu, backends, read_gpus
from ai_assistant.devices.layout import stored
from ai_assistant.devices.layout.correct import FAR, corrected, learned, strayed
from ai_assistant.devices.layout.first import by_bytes, smaller
from ai_assistant.devices.layout.predict import NEUTRAL, Bench, Factors, Layout, step
from ai_assistant.devices.layout.room import Memory, estimated, measured, memory
from ai_assistant.devices.layout.search import TURNS, Prediction, Wanted, best, predict
from ai_assistant.devices.layout.words import reasons, where
from ai_assistant.devices.plan import (
    Machine,
    choices,
    limits,
    memory_need,
    placed,
    plan_engine,
)
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.frames import StepSample
from ai_assistant.protocol.kernels import KernelReport
from ai_assistant.protocol.layout import ModelAnatomy
from ai_assistant.protocol.status import EngineStatus, ModelInfo, PlanSource, PlanStatus
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.workers.beyond import free_here, from_disk

log = logging.getLogger(__name__)

KINDS = ("f16", "q8_0")
"""Types of KV cache that are weighed against each other."""
SAVE_SECONDS = 60.0
"""Between two times that what was learned is written."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, what it takes of main memory, what is said of it, what comes after it."""

    plan: EnginePlan
    need: int
    told: PlanStatus
    smaller: Callable[[EnginePlan, str], tuple[EnginePlan, PlanStatus] | None] | None = None


class Known(msgspec.Struct, kw_only=True):
    """What is known of one model's speed here."""

    name: str
    """Of its files."""
    anatomy: ModelAnatomy
    benches: dict[str, Bench]
    factors: Factors
    strayed: float = 0.0
    """See `devices.layout.correct`."""

    @property
    def doubtful(self) -> bool:
        """Whether the model's steps take something else altogether than what was measured."""
        return abs(self.strayed) > FAR


class Planner:
    """Makes plans. Its methods may take a second where there is a GPU: call them in a thread."""

    def __init__(
        self,
        settings: EngineSettings,
        folder: Path,
        *,
        ask: Callable[[], KernelReport | None] = ask_kernels,
        kinds_of_gpu: Callable[[], frozenset[str]] = backends,
    ) -> None:
        """`folder`: where what was measured is kept."""
        self._settings = settings
        self._folder = folder
        self._ask = ask
        self._kinds_of_gpu = kinds_of_gpu
        self._none = False
        self._known: dict[str, Known] = {}
        self._started = time.monotonic()
        self._saved_at: dict[str, float] = {}
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="learned")

    @property
    def cores(self) -> int:
        """That are granted now."""
        return read_cpu().compute_cores

    def gpus(self) -> tuple[Gpu, ...]:
        """With what is free on them now. Kernels without a backend for any are not asked."""
        if self._none or not self._kinds_of_gpu():
            return ()
        found = read_gpus(self._ask)
        self._none = not found
        return found

    def plan(self, model: ModelInfo) -> Planned:
        """How to load a model now. Raises `ModelLoadFailed`."""
        gpus = self.gpus()
        machine = Machine(self.cores, read_memory().available, tuple(one.free for one in gpus))
        if model.embedding or not gpus:
            plan = plan_engine(model, machine, self._settings)
            told = plain(plan)
            free = free_here(machine.memory_available)
            if not model.embedding and not fits(model, plan, free):
                plan, words = from_disk(model, plan, free, self._settings)
                told = structs.replace(plain(plan), reasons=(words,))
                return Planned(plan=plan, need=need(model, plan), told=told)
            return Planned(plan=plan, need=memory_need(model, plan), told=told)
        return self._with_gpus(model, machine, gpus)

    def _with_gpus(self, model: ModelInfo, machine: Machine, gpus: tuple[Gpu, ...]) -> Planned:
        known = self.known(model, gpus)
        wanted = choices(model, known.anatomy, machine, self._settings)
        layout, said, one = self._chosen(known, machine, wanted)
        if layout is None:
            # Not even main memory seems to hold it: the file's pages may still come and go.
            layout = Layout(gpu_layers=0, threads=machine.cores, cells=wanted.cells[-1])
        plan = plan_engine(model, machine, self._settings, layout)
        taken = one.memory if one else self._memory(known, layout)
        source: PlanSource = "measured" if one else "bytes"
        if self._settings.gpu_layers >= 0:
            source, said = "settings", ["The settings say how many layers are on GPUs.", *said]
        told = _status(known.anatomy, layout, source, said, taken, gpus, one)

        def next_smaller(plan: EnginePlan, reason: str) -> tuple[EnginePlan, PlanStatus] | None:
            return self._smaller(known.anatomy, plan, reason, gpus)

        return Planned(plan=plan, need=taken.ram + (300 << 20), told=told, smaller=next_smaller)

    def _chosen(
        self, known: Known, machine: Machine, wanted: Wanted
    ) -> tuple[Layout | None, list[str], Prediction | None]:
        room, workload = limits(machine), self._settings.workload
        if known.benches:
            found = best(known.anatomy, known.benches, room, workload, wanted, known.factors)
            if found:
                return found[0].layout, reasons(known.anatomy, found, room, workload), found[0]
        threads = structs.replace(wanted, threads=wanted.threads or machine.cores)
        layout = by_bytes(known.anatomy, room, threads)
        said = ["Not measured yet: as much as fits by its size is on the GPU."]
        return layout, said, None

    def _memory(self, known: Known, layout: Layout) -> Memory:
        bench = known.benches.get(layout.kv_type)
        needs = estimated(known.anatomy, layout.chunk)
        if bench:
            needs = measured(bench, known.anatomy, max(bench.processor(1).layer.tokens))
        return memory(known.anatomy, layout, needs)

    def _smaller(
        self, anatomy: ModelAnatomy, plan: EnginePlan, reason: str, gpus: tuple[Gpu, ...]
    ) -> tuple[EnginePlan, PlanStatus] | None:
        before = layout_of(plan, anatomy)
        after = smaller(before, anatomy)
        if after is None:
            return None
        said = (
            f"The GPU had no room for the plan before ({where(anatomy, before)}): {reason}",
            f"Now: {where(anatomy, after)}.",
        )
        taken = memory(anatomy, after, estimated(anatomy, after.chunk))
        return placed(plan, after), _status(anatomy, after, "fallback", said, taken, gpus, None)

    # What was measured and learned.

    def known(self, model: ModelInfo, gpus: tuple[Gpu, ...]) -> Known:
        """Read once, and again when it was measured."""
        if model.id not in self._known:
            anatomy = read_anatomy(Path(model.path))
            name = stored.key(anatomy, machine_name(gpus))
            self._known[model.id] = Known(
                name=name,
                anatomy=anatomy,
                benches=stored.load(self._folder, name, KINDS),
                factors=stored.load_factors(self._folder, name),
            )
        return self._known[model.id]

    def keep(self, model: ModelInfo, kv_type: str, bench: Bench) -> None:
        """What was measured just now. Raises `OSError`."""
        known = self._known[model.id]
        known.benches[kv_type] = bench
        known.factors, known.strayed = NEUTRAL, 0.0
        stored.save(self._folder, known.name, kv_type, bench)

    def doubtful(self, model: ModelInfo) -> bool:
        """Whether what was measured of it does not hold: it should be measured again."""
        known = self._known.get(model.id)
        return known is not None and known.doubtful

    def anything_stored(self) -> bool:
        """Whether a model of any shape was measured here: else there is nothing to look up."""
        return self._folder.is_dir() and any(self._folder.glob("*.f16.json"))

    def told(self, model: ModelInfo, plan: EnginePlan, now: PlanStatus) -> PlanStatus:
        """The same with predictions, where the model was measured."""
        gpus = self.gpus()
        known = self.known(model, gpus)
        bench = known.benches.get(plan.kv_type)
        if bench is None:
            return now
        layout = layout_of(plan, known.anatomy, gpus=bool(bench.gpus))
        turn = TURNS[self._settings.workload]
        needs = measured(bench, known.anatomy, max(bench.processor(1).layer.tokens))
        one = predict(known.anatomy, bench, layout, turn, needs, known.factors)
        told = _status(known.anatomy, layout, now.source, now.reasons, one.memory, gpus, one)
        return structs.replace(told, draft=now.draft)

    def learn(
        self, model: ModelInfo, plan: EnginePlan, status: EngineStatus, steps: Sequence[StepSample]
    ) -> None:
        """The model's own steps correct what is said of it. Cheap: called where reports arrive."""
        known = self._known.get(model.id)
        bench = known.benches.get(plan.kv_type) if known else None
        if known is None or bench is None or status.cores_busy > 0.25:
            return
        layout = layout_of(plan, known.anatomy, gpus=bool(bench.gpus))
        for one in steps:
            threads = status.threads if one.tokens == 1 else status.threads_batch or status.threads
            layout = structs.replace(layout, threads=threads)
            predicted = step(
                known.anatomy, bench, layout, one.tokens, one.depth, streams=one.streams
            )
            expected = corrected(known.factors, predicted)
            known.strayed = strayed(known.strayed, expected, one.seconds)
            known.factors = learned(known.factors, predicted, one.seconds)
        self._save_factors(known)

    def _save_factors(self, known: Known) -> None:
        now = time.monotonic()
        if now - self._saved_at.get(known.name, self._started) < SAVE_SECONDS:
            return
        self._saved_at[known.name] = now
        # Where reports arrive nobody waits for a disk; one thread keeps the order.
        self._disk.submit(self._write_factors, known.name, known.factors)

    def _write_factors(self, name: str, factors: Factors) -> None:
        try:
            stored.save_factors(self._folder, name, factors)
        except OSError as error:
            log.warning("What was learned of %s is not kept: %s", name, error)


def layout_of(plan: EnginePlan, anatomy: ModelAnatomy, *, gpus: bool = True) -> Layout:
    """What a plan says of where weights are; `gpus`: whether there are any."""
    every = len(anatomy.layers) + 1 if gpus else 0
    shares = [int(share) for share in plan.tensor_split]
    if shares:  # The output is counted with the last one.
        last = max(index for index, share in enumerate(shares) if share)
        shares[last] -= 1
    return Layout(
        gpu_layers=every if plan.gpu_layers < 0 else min(plan.gpu_layers, every),
        on_gpus=tuple(shares),
        feeds_on_cpu=plan.feeds_on_cpu,
        threads=plan.threads,
        chunk=plan.chunk,
        cells=plan.cells,
        kv_type=plan.kv_type,
        host_buffers=plan.host_buffers,
        reads=plan.load_mode == "read",
    )


@functools.cache
def _kernels() -> str:
    try:
        return version("llama-cpp-python")
    except PackageNotFoundError:
        return ""


def machine_name(gpus: tuple[Gpu, ...]) -> str:
    """What speeds depend on."""
    cards = [one.description for one in gpus]
    return f"{read_cpu().name} {read_cpu().compute_cores} {cards} {_kernels()}"


def plain(plan: EnginePlan) -> PlanStatus:
    """What is said of a plan where there is no GPU."""
    threads = f"{plan.threads} thread{'' if plan.threads == 1 else 's'}"
    cache = f"{plan.cells:,} tokens of {plan.kv_type} KV cache"
    said = ["There is no GPU that the kernels can use."]
    if plan.elastic_threads:
        said.append("The number of threads follows what other programs leave.")
    summary = f"all on the processor, {threads}, {cache}"
    return PlanStatus(summary=summary, source="processor", reasons=tuple(said))


def _status(
    anatomy: ModelAnatomy,
    layout: Layout,
    source: PlanSource,
    said: Sequence[str],
    taken: Memory,
    gpus: tuple[Gpu, ...],
    one: Prediction | None,
) -> PlanStatus:
    cards = {gpu.name: size for gpu, size in zip(gpus, taken.gpus, strict=False) if size}
    cache = f"{layout.cells:,} tokens of {layout.kv_type} KV cache"
    return PlanStatus(
        summary=f"{where(anatomy, layout)}, {cache}",
        source=source,
        reasons=tuple(said),
        ttft=one.ttft if one else None,
        tpot=one.tpot if one else None,
        tokens_per_second=one.tokens_per_second if one else None,
        memory={"RAM": taken.ram} | cards,
    )
