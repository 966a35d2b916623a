"""What a better plan would be where the processor computes: more cores, more memory, no guesses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ai_assistant.devices.move_cost import MoveCost
from ai_assistant.devices.plan import Machine, plan_engine
from ai_assistant.devices.profile import ThreadRate
from ai_assistant.devices.relayout import Better, Here, better_on_processor
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.moves import MoveResult
from ai_assistant.protocol.relayout import Usage
from ai_assistant.protocol.status import EngineStatus, ModelInfo

GB = 1 << 30
MODEL = ModelInfo(id="m", name="m", path="/m.gguf", size_bytes=4 * GB, architecture="llama",
                  quantisation="Q4_K", parameters=7, context_train=32768,
                  kv_bytes_per_token=131072)  # fmt: skip
ENGINE = EngineStatus(
    pid=1, slots=16, running=1, waiting=0, parked=0, context_limit=4096, cells_total=4096,
    cells_used=0, cells_retained=0, prompt_tokens=0, cached_tokens=0, generated_tokens=0, steps=9,
    prefill_tokens_per_second=100, decode_tokens_per_second=10, decode_ms_mean=100,
    python_ms_mean=1, memory_bytes=0, threads=2, threads_batch=2,
)  # fmt: skip
CHAT = Usage(turns=0.05, prompt=1500, known=500, answer=200, streams=1)
AUTO = EngineSettings()


def plan(cores: int, free: int, settings: EngineSettings = AUTO) -> EnginePlan:
    return plan_engine(MODEL, Machine(cores, free), settings)


def here(cores: int, free: int, *reads: tuple[int, float]) -> Here:
    rates = [ThreadRate(threads, rate) for threads, rate in reads]
    return Here(cores=cores, memory_total=32 * GB, memory_available=free, reads=rates)


def better(
    now: EnginePlan,
    here: Here,
    settings: EngineSettings = AUTO,
    busy: float = 0.0,
    usage: Usage = CHAT,
) -> Better | None:
    engine = structs.replace(ENGINE, cores_busy=busy)
    return better_on_processor(MODEL, now, engine, usage, here, settings)


def test_what_has_not_changed_needs_no_other_plan() -> None:
    assert better(plan(2, 20 * GB), here(2, 14 * GB)) is None


def test_more_cores_are_more_threads_and_prompts_gain_most() -> None:
    found = better(plan(2, 20 * GB), here(4, 14 * GB))
    assert found
    assert (found.plan.threads, found.plan.threads_batch) == (4, 4)
    assert not found.roomier
    assert found.now == pytest.approx(1000 / 100 + 200 * 0.101)
    assert 5 + 200 * 0.051 < found.then < 0.8 * found.now
    assert "4 cores" in found.why


def test_single_tokens_gain_what_memory_lets_them() -> None:
    flat = better(plan(2, 20 * GB), here(4, 14 * GB, (1, 6e9), (2, 10e9), (4, 10e9)))
    steep = better(plan(2, 20 * GB), here(4, 14 * GB, (1, 5e9), (2, 10e9), (4, 20e9)))
    assert flat
    assert steep
    assert flat.then == pytest.approx(5 + 200 * 0.101)
    assert steep.then == pytest.approx(5 + 200 * 0.051)


def test_several_streams_compute_and_gain_all() -> None:
    crowd = structs.replace(CHAT, streams=8)
    found = better(plan(2, 20 * GB), here(4, 14 * GB), usage=crowd)
    assert found
    assert found.then == pytest.approx(5 + 200 * 0.051)


def test_cores_that_others_use_are_no_gain() -> None:
    assert better(plan(2, 20 * GB), here(4, 14 * GB), busy=2.0) is None


def test_fewer_cores_are_the_engines_own_business() -> None:
    assert better(plan(4, 20 * GB), here(2, 14 * GB)) is None


def test_the_owners_threads_and_context_stay() -> None:
    fixed = EngineSettings(threads=2)
    assert better(plan(2, 20 * GB, fixed), here(8, 14 * GB), fixed) is None
    short = EngineSettings(context=2048, cells=2048)
    assert better(plan(2, 20 * GB, short), here(2, 14 * GB), short) is None


def test_context_that_was_halved_comes_back_when_there_is_room() -> None:
    whole = plan(2, 20 * GB)
    half = structs.replace(whole, cells=whole.cells // 4, context_limit=whole.context_limit // 4)
    found = better(half, here(2, 14 * GB))
    assert found
    assert found.roomier
    assert found.plan.cells > 1.5 * half.cells
    assert better(half, here(2, 3 * GB)) is None


@given(
    cores=st.integers(1, 64), now=st.integers(1, 64), free=st.integers(0, 32 * GB),
    busy=st.floats(0, 64),
)  # fmt: skip
def test_a_better_plan_is_never_bettered_by_the_same_facts(
    cores: int, now: int, free: int, busy: float
) -> None:
    machine = here(cores, free)
    first = better(plan(now, 20 * GB), machine, busy=busy)
    if first:
        assert first.then <= first.now
        taken = (first.plan.cells - plan(now, 20 * GB).cells) * MODEL.kv_bytes_per_token
        left = structs.replace(machine, memory_available=max(free - taken, 0))
        assert better(first.plan, left, busy=busy) is None


def test_what_moves_cost_is_learned_from_them() -> None:
    cost = MoveCost()
    assert cost.pause("instead", 10 * GB) > cost.pause("instead", GB) > cost.pause("beside", GB)
    for _ in range(8):
        cost = cost.learned(
            MoveResult(
                model="m", how="instead", seconds=9, load_seconds=8, paused_seconds=8.5,
                sequences=2,
            ),
            GB,
        )  # fmt: skip
        cost = cost.learned(MoveResult(model="m", how="beside", seconds=9, load_seconds=8.9), GB)
    assert abs(cost.pause("instead", 10 * GB) - 8.5) < 0.1
    assert abs(cost.pause("beside", 10 * GB) - 0.1) < 0.1
    assert cost.pause("in place", GB) == MoveCost().in_place
