"""A draft model beside a model that is about to be loaded: found, weighed, told."""

import msgspec
from msgspec import structs

from ai_assistant.devices.drafts import (
    ACCEPTED,
    ACCEPTED_OF_KIN,
    Seconds,
    by_bytes,
    draft_need,
    draft_plan,
    payoff,
    told,
)
from ai_assistant.devices.facts import read_memory
from ai_assistant.devices.gpus import Gpu
from ai_assistant.devices.layout.predict import Bench, Factors, Layout, step
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.engine_plan import DraftPlan, EnginePlan
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.layout import ModelAnatomy
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.drafts import Found, find_draft, read_speaker
from ai_assistant.workers.planning import Known, Planned, Planner, layout_of

DEPTH = 512
"""Tokens before the steps that are compared."""


class Room(msgspec.Struct, frozen=True):
    """Bytes that are free beside the model itself."""

    ram: int
    gpu: int = 0
    """On the card that has the most."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A draft model for a plan, or why there is none."""

    words: str
    plan: DraftPlan | None = None
    draft: ModelInfo | None = None
    need: int = 0
    """Bytes that it takes."""
    worth_telling: bool = True
    """Not: nobody asked, and there is nothing here that would fit."""


class Drafts:
    """Finds draft models among those here. Reads files: call it in a thread."""

    def __init__(
        self, settings: EngineSettings, here: tuple[ModelInfo, ...], planner: Planner
    ) -> None:
        self._settings = settings
        self._here = here
        self._planner = planner

    def beside(self, model: ModelInfo, planned: Planned) -> Planned:
        """The plan with a draft model, where one fits, pays and finds room."""
        if model.embedding:
            return planned
        gpus = self._planner.gpus()
        taken = planned.told.memory
        free = max((gpu.free - taken.get(gpu.name, 0) for gpu in gpus), default=0)
        room = Room(read_memory().available - planned.need, free)
        verdict = self.judge(model, planned.plan, room, gpus)
        if not verdict.worth_telling:
            return planned
        said = structs.replace(
            planned.told,
            reasons=(*planned.told.reasons, verdict.words),
            draft=verdict.draft.id if verdict.draft else "",
        )
        plan = structs.replace(planned.plan, draft=verdict.plan)
        in_ram = verdict.plan is not None and not verdict.plan.gpu_layers
        need = planned.need + (verdict.need if in_ram else 0)
        return structs.replace(planned, plan=plan, told=said, need=need)

    def judge(
        self, model: ModelInfo, plan: EnginePlan, room: Room, gpus: tuple[Gpu, ...]
    ) -> Verdict:
        """Whether a draft model should run beside this plan, in words too."""
        wanted = self._settings.draft
        if wanted == "off" or not self._settings.speculation:
            return Verdict(words="No draft model: the settings say so.", worth_telling=False)
        name = "" if wanted == "auto" else wanted
        try:
            found = find_draft(model, self._here, read_speaker, name)
            if found.draft is None:
                words = f"No draft model: {found.reason}."
                return Verdict(words=words, worth_telling=bool(name))
            return self._weigh(model, plan, found, found.draft, room, gpus)
        except AssistantError as error:
            return Verdict(words=f"No draft model: {error.message}", worth_telling=bool(name))

    def _weigh(
        self,
        model: ModelInfo,
        plan: EnginePlan,
        found: Found,
        draft: ModelInfo,
        room: Room,
        gpus: tuple[Gpu, ...],
    ) -> Verdict:
        target, small = read_speaker(model).anatomy, read_speaker(draft).anatomy
        share = _share_on_gpu(plan, target) if gpus else 0.0
        laid = draft_plan(draft, plan, on_gpu=False)
        need = draft_need(draft, laid)
        on_gpu = share == 1.0 and need <= room.gpu
        if on_gpu:
            laid = draft_plan(draft, plan, on_gpu=True)
        elif need > room.ram or plan.resident_bytes:
            return Verdict(
                words=f"No draft model: {draft.id} would take {need / 1e9:.1f} GB, and "
                f"{max(room.ram, 0) / 1e9:.1f} GB are free beside the model."
            )
        known, other = (self._planner.known(one, gpus) for one in (model, draft))
        steps = _measured(known, layout_of(plan, target, gpus=bool(gpus)))
        draft_steps = _measured(other, _layout(laid, plan, small))
        basis = "as measured"
        if steps is None or draft_steps is None:
            basis = "by size"
            left = target.token_bytes * (1 - share) if 0 < share < 1 else target.token_bytes
            steps = by_bytes(int(left), on_gpu=share == 1.0)
            draft_steps = by_bytes(small.token_bytes, on_gpu=on_gpu)
        result = payoff(steps, draft_steps, ACCEPTED_OF_KIN if found.kin else ACCEPTED)
        if not result.pays and self._settings.draft == "auto":
            words = f"No draft model: {draft.id} would not pay, {basis}: {told(draft, result)}."
            return Verdict(words=words)
        words = f"Draft model {draft.id}, {basis}: {told(draft, result)}."
        if not result.pays:
            words += " It is loaded since the settings name it."
        return Verdict(words=words, plan=laid, draft=draft, need=need)


def _share_on_gpu(plan: EnginePlan, anatomy: ModelAnatomy) -> float:
    """Of the layers."""
    count = len(anatomy.layers)
    if plan.gpu_layers < 0 or (plan.gpu_layers > count and not plan.feeds_on_cpu):
        return 1.0
    return min(max(plan.gpu_layers - 1, 0), count) / (count + 1)


def _layout(laid: DraftPlan, plan: EnginePlan, anatomy: ModelAnatomy) -> Layout:
    layers = len(anatomy.layers) + 1 if laid.gpu_layers else 0
    return Layout(gpu_layers=layers, threads=plan.threads, cells=laid.cells)


def _measured(known: Known, layout: Layout) -> Seconds | None:
    """What steps take by trials of the model's layers; None where there were none."""
    bench: Bench | None = known.benches.get(layout.kv_type) or known.benches.get("f16")
    if bench is None or (layout.gpu_layers and not bench.gpus):
        return None
    anatomy, factors = known.anatomy, known.factors

    def seconds(tokens: int, bench: Bench = bench, factors: Factors = factors) -> float:
        return step(anatomy, bench, layout, tokens, DEPTH, factors=factors).total

    return seconds
