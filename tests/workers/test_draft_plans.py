"""A draft model is loaded where it fits, finds room and is predicted to pay."""

import os
from pathlib import Path

import msgspec
import pytest
from benchmarks import tiny
from benchmarks.tiny import make

from ai_assistant.devices.drafts import (
    ACCEPTED,
    ACCEPTED_OF_KIN,
    WORTH,
    by_bytes,
    draft_need,
    draft_plan,
    payoff,
)
from ai_assistant.devices.gpus import Gpu
from ai_assistant.devices.plan import Machine, plan_engine
from ai_assistant.devices.pressure import Level
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.scheduler.relief import Ease, Held, relieve
from ai_assistant.store.models import read_model
from ai_assistant.workers.drafts import Drafts, Room
from ai_assistant.workers.planning import Planner

GIGA = 10**9


def test_a_gpu_is_worth_it_and_a_processor_only_for_very_small_drafts() -> None:
    kin = ACCEPTED_OF_KIN
    on_gpu = payoff(by_bytes(16 * GIGA, on_gpu=True), by_bytes(GIGA, on_gpu=True), kin)
    assert on_gpu.pays
    assert on_gpu.rounds >= 3
    quarter = payoff(by_bytes(4 * GIGA, on_gpu=False), by_bytes(GIGA, on_gpu=False), kin)
    assert not quarter.pays
    little = payoff(by_bytes(40 * GIGA, on_gpu=False), by_bytes(GIGA, on_gpu=False), kin)
    assert little.gain > quarter.gain


def test_gain_is_that_of_the_formula() -> None:
    found = payoff(lambda tokens: 1 + 0.1 * (tokens - 1), lambda _: 0.05, 0.6)
    gains = [
        sum(0.6**place for place in range(k + 1)) / (1 + 0.1 * k + 0.05 * k) for k in range(17)
    ]
    assert found.gain == pytest.approx(max(gains))
    assert found.rounds == gains.index(max(gains))
    never = payoff(lambda _: 1.0, lambda _: 2.0, 0.6)
    assert (never.gain, never.rounds, never.pays) == (1.0, 0, False)
    assert WORTH > 1
    assert ACCEPTED < ACCEPTED_OF_KIN


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModelInfo, ModelInfo]:
    """Two real files with the same tokens, one with many more layers."""
    draft = make("tiny", tmp_path / "small.gguf", seed=2)
    monkeypatch.setattr(tiny, "LAYERS", 48)
    target = make("tiny", tmp_path / "large.gguf", seed=1)
    return read_model(target, "large"), read_model(draft, "small")


def judged(pair: tuple[ModelInfo, ModelInfo], folder: Path, room: Room, **settings: object):  # type: ignore[no-untyped-def]
    engine = msgspec.convert(settings, EngineSettings)
    planner = Planner(engine, folder, kinds_of_gpu=frozenset)
    plan = plan_engine(pair[0], Machine(2, 8 * GIGA), engine)
    gpu = Gpu(name="CUDA0", description="Test card", free=room.gpu)
    gpus = (gpu,) if room.gpu else ()
    return Drafts(engine, pair, planner).judge(pair[0], plan, room, gpus)


def test_draft_goes_onto_the_card_where_it_pays(pair: tuple[ModelInfo, ModelInfo], tmp_path: Path):
    verdict = judged(pair, tmp_path, Room(8 * GIGA, 8 * GIGA))
    assert verdict.plan
    assert verdict.plan.model_path == pair[1].path
    assert verdict.plan.gpu_layers == -1
    assert "40%" in verdict.words
    assert verdict.need == draft_need(pair[1], verdict.plan)


def test_no_room_is_told(pair: tuple[ModelInfo, ModelInfo], tmp_path: Path):
    verdict = judged(pair, tmp_path, Room(1 << 20))
    assert verdict.plan is None
    assert "0.0 GB are free beside the model" in verdict.words


def test_owner_says_off_or_which(pair: tuple[ModelInfo, ModelInfo], tmp_path: Path):
    room = Room(8 * GIGA, 8 * GIGA)
    off = judged(pair, tmp_path, room, draft="off")
    assert (off.plan, off.worth_telling) == (None, False)
    assert judged(pair, tmp_path, room, speculation=False).plan is None
    named = judged(pair, tmp_path, Room(8 * GIGA), draft="small")
    assert named.plan, "who is named is loaded even where it is not expected to pay"
    unknown = judged(pair, tmp_path, room, draft="nobody")
    assert "nobody" in unknown.words
    assert unknown.worth_telling


def test_torn_file_is_no_draft(pair: tuple[ModelInfo, ModelInfo], tmp_path: Path):
    os.truncate(pair[1].path, 1000)
    verdict = judged(pair, tmp_path, Room(8 * GIGA, 8 * GIGA))
    assert verdict.plan is None


def test_plan_of_a_draft_is_bounded(pair: tuple[ModelInfo, ModelInfo]):
    plan = plan_engine(pair[0], Machine(2, 8 * GIGA), EngineSettings(cells=65_536, slots=2))
    laid = draft_plan(pair[1], plan, on_gpu=False)
    assert (laid.cells, laid.slots, laid.gpu_layers) == (16_384, 2, 0)
    assert draft_need(pair[1], laid) > pair[1].size_bytes


@pytest.mark.parametrize("level", ["tight", "critical"])
def test_draft_goes_before_anything_else(level: Level):
    one = Held(id="a", in_use=1, last_used=0, running=1, warm=1 << 30, warm_planned=1 << 30,
               slots=4, slots_planned=4)  # fmt: skip
    two = msgspec.structs.replace(one, id="b", warm=1 << 20, draft=1 << 20)
    assert relieve(level, [one, two]) == Ease("b", 1 << 20, 4)
    gone = relieve(level, [one, msgspec.structs.replace(two, draft=0)])
    assert isinstance(gone, Ease)
    assert gone.id == "a"
