"""What a better plan for a loaded model would be, by the machine as it is now."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import structs

from ai_assistant.devices.facts import read_cpu, read_memory
from ai_assistant.devices.gpus import Gpu
from ai_assistant.devices.layout.room import measured
from ai_assistant.devices.layout.search import Prediction, Turn, best, predict
from ai_assistant.devices.layout.words import where
from ai_assistant.devices.nvml import read_cards
from ai_assistant.devices.plan import Machine, choices, limits, memory_need, placed
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.relayout import ERROR as UNMEASURED
from ai_assistant.devices.relayout import Better, Here, better_on_processor
from ai_assistant.devices.replan import room_for_both
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.devices.source import NvidiaCard
from ai_assistant.engine.changes import Depth, depth
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.moves import Want
from ai_assistant.protocol.relayout import Proposal, Usage, Way
from ai_assistant.protocol.status import EngineStatus, ModelInfo, PlanStatus
from ai_assistant.workers.planning import Known, Planner, layout_of, plain

GPU_SECONDS = 60.0
"""Between two times that the kernels are asked for GPUs: that takes a process."""
GPU_BYTES = 256 << 20
"""By which a card's free memory has changed when they are asked sooner."""
ERROR = 0.1
"""By which predictions from measured layers may be wrong."""


class Proposer:
    """Asks the machine, cheaply; call it in a thread."""

    def __init__(
        self,
        planner: Planner,
        settings: EngineSettings,
        *,
        root: Path = Path("/"),
        profile: Callable[[], Profile | None] = lambda: None,
        cards: Callable[[], Sequence[NvidiaCard]] = read_cards,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`root`: where the system's files are; `profile`: what was measured of the machine;
        `cards`: what tells of free memory without a process of its own."""
        self._planner = planner
        self._settings = settings
        self._root = root
        self._profile = profile
        self._cards = cards
        self._clock = clock
        self._gpus: tuple[Gpu, ...] = ()
        self._gpus_at = float("-inf")
        self._cards_free: list[int] = []

    def __call__(
        self, model: ModelInfo, plan: EnginePlan, engine: EngineStatus, usage: Usage
    ) -> Proposal | None:
        """None: nothing better is known. Raises `AssistantError`."""
        if plan.embedding or plan.resident_bytes:
            return None
        gpus = self._look_at_gpus()
        if gpus:
            return self._with_gpus(model, plan, usage, gpus)
        here = self._here()
        found = better_on_processor(model, plan, engine, usage, here, self._settings)
        return found and _on_processor(model, plan, found)

    def _here(self) -> Here:
        memory, profile = read_memory(self._root), self._profile()
        return Here(
            cores=read_cpu(self._root).compute_cores,
            memory_total=memory.total,
            memory_available=memory.available,
            reads=profile.memory.read if profile else (),
        )

    def _look_at_gpus(self) -> tuple[Gpu, ...]:
        now = self._clock()
        if now - self._gpus_at >= GPU_SECONDS or self._cards_changed():
            self._gpus, self._gpus_at = self._planner.gpus(), now
            self._cards_free = self._free_of_cards()
        return self._gpus

    def _cards_changed(self) -> bool:
        both = zip(self._free_of_cards(), self._cards_free, strict=False)
        return any(abs(now - before) >= GPU_BYTES for now, before in both)

    def _free_of_cards(self) -> list[int]:
        """Where no GPU was seen nobody need look for a driver."""
        cards = self._cards() if self._gpus else ()
        return [one.memory_free or 0 for one in cards]

    def _with_gpus(
        self, model: ModelInfo, plan: EnginePlan, usage: Usage, gpus: tuple[Gpu, ...]
    ) -> Proposal | None:
        """Only where the model's layers were timed, its steps take about what that says, and the
        owner did not say where they go."""
        known = self._planner.known(model, gpus)
        if plan.kv_type not in known.benches or self._settings.gpu_layers >= 0:
            return None
        if known.doubtful:
            return None
        turn = _turn(usage)
        now = _predicted(known, plan, turn)
        then = self._best(model, plan, known, now, turn, gpus)
        if then is None:
            return None
        new = placed(plan, then.layout)
        if new == plan:
            return None
        available = read_memory(self._root).available
        room = room_for_both(model, new, available, sum(gpu.free for gpu in gpus))
        why = (
            f"{where(known.anatomy, then.layout)} is predicted to take {then.turn:.2f} s a turn, "
            f"{where(known.anatomy, now.layout)} takes {now.turn:.2f} s"
        )
        said = PlanStatus(
            summary=where(known.anatomy, then.layout),
            source="measured",
            reasons=(f"Moved: {why}.",),
        )
        return Proposal(
            want=Want(plan=new, need=then.memory.ram + (300 << 20), room=room),
            way=_way(plan, new, room=room),
            told=self._planner.told(model, new, said),
            why=why,
            now=now.turn,
            then=then.turn,
            error=ERROR,
        )

    def _best(
        self,
        model: ModelInfo,
        plan: EnginePlan,
        known: Known,
        now: Prediction,
        turn: Turn,
        gpus: tuple[Gpu, ...],
    ) -> Prediction | None:
        """With the same KV cache, in what is free and what the model takes now."""
        taken = (*now.memory.gpus, *(0 for _ in gpus))
        machine = Machine(
            self._planner.cores,
            read_memory(self._root).available + now.memory.ram,
            tuple(gpu.free + mine for gpu, mine in zip(gpus, taken, strict=False)),
        )
        wanted = structs.replace(
            choices(model, known.anatomy, machine, self._settings),
            cells=(plan.cells,),
            kv_types=(plan.kv_type,),
        )
        found = best(known.anatomy, known.benches, limits(machine), turn, wanted, known.factors)
        return found[0] if found else None


def _on_processor(model: ModelInfo, plan: EnginePlan, found: Better) -> Proposal:
    new = found.plan
    told = plain(new)
    reasons = (*told.reasons, f"Moved: {found.why}.")
    return Proposal(
        want=Want(plan=new, need=memory_need(model, new), room=True),
        way=_way(plan, new, room=True),
        told=structs.replace(told, reasons=reasons),
        why=found.why,
        now=found.now,
        then=found.then,
        error=UNMEASURED,
        wanted=found.roomier,
    )


def _way(old: EnginePlan, new: EnginePlan, *, room: bool) -> Way:
    if depth(old, new) < Depth.WEIGHTS:
        return "in place"
    return "beside" if room else "instead"


def _turn(usage: Usage) -> Turn:
    return Turn(
        prompt=max(round(usage.prompt), 1),
        known=round(usage.known),
        answer=max(round(usage.answer), 1),
        streams=max(round(usage.streams), 1),
    )


def _predicted(known: Known, plan: EnginePlan, turn: Turn) -> Prediction:
    bench = known.benches[plan.kv_type]
    needs = measured(bench, known.anatomy, max(bench.processor(1).layer.tokens))
    layout = layout_of(plan, known.anatomy, gpus=bool(bench.gpus))
    return predict(known.anatomy, bench, layout, turn, needs, known.factors)
