"""A model that is larger than the memory: predicted by bytes, refused below the owner's least."""

import pytest
from msgspec import structs

from ai_assistant.devices.beyond import SHARE, WORKING, Experts, fits, frugal, lay, need, predict
from ai_assistant.engine.readahead_order import Span, divide
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.status import ModelInfo

GB = 1 << 30
MODEL = ModelInfo(id="large", name="large", path="/large.gguf", size_bytes=6 * GB,
                  architecture="llama", quantisation="Q4_K", parameters=1, context_train=4096,
                  kv_bytes_per_token=1 << 17)  # fmt: skip
PLAN = EnginePlan(model_path="/large.gguf", context_limit=2048, cells=2048, slots=4, retained=4,
                  chunk=512, threads=2, threads_batch=2)  # fmt: skip
KV = 2048 << 17


def test_what_fits_is_left_alone() -> None:
    assert fits(MODEL, PLAN, 6 * GB + KV + WORKING)
    assert not fits(MODEL, PLAN, 6 * GB + KV + WORKING - 1)


def test_the_speed_is_what_the_disk_gives_for_what_does_not_stay() -> None:
    found = predict(MODEL, PLAN, 4 * GB, 2e9, 1e12)
    assert found.resident == int(4 * GB * SHARE) - KV - WORKING
    assert 6 * GB - found.resident < found.streamed < 6 * GB - found.resident + 0.1 * 6 * GB
    assert found.tokens_per_second == pytest.approx(2e9 * 0.8 / found.streamed)


def test_what_comes_from_disk_is_what_the_engine_would_stream() -> None:
    """`engine/readahead_order.divide`: a share of each layer stays beside what passes through."""
    layer = 6 * GB // 32
    order = [[Span(n * layer, (n + 1) * layer)] for n in range(32)]
    for free in (2 * GB, 4 * GB, 5 * GB):
        found = predict(MODEL, PLAN, free, 2e9)
        assert found.streamed == pytest.approx(
            divide(order, found.resident).bytes_streamed, rel=0.03
        )


def test_no_disk_is_quicker_than_memory() -> None:
    assert predict(MODEL, PLAN, 6 * GB, 1e12, 1e10).tokens_per_second == pytest.approx(
        1e10 / (6 * GB)
    )


def test_more_memory_is_never_slower() -> None:
    speeds = [
        predict(MODEL, PLAN, free, 1e9).tokens_per_second
        for free in range(GB // 2, 7 * GB, GB // 4)
    ]
    assert speeds == sorted(speeds)


def test_the_plan_says_what_stays_and_takes_no_more() -> None:
    found = predict(MODEL, PLAN, 4 * GB, 2e9)
    plan, words = lay(MODEL, PLAN, found, 4 * GB, 0.1)
    assert plan.resident_bytes == found.resident
    assert plan.share_weights
    assert need(MODEL, plan) <= 4 * GB
    assert "tokens per second" in words
    assert "2.0 GB/s" in words


def test_too_slow_is_refused_with_the_numbers_and_the_way_out() -> None:
    found = predict(MODEL, PLAN, 4 * GB, 5e8)
    with pytest.raises(ModelLoadFailed) as refused:
        lay(MODEL, PLAN, found, 4 * GB, 1.0)
    words = str(refused.value)
    assert "6.4 GB" in words
    assert "4.3 GB of memory are free" in words
    assert "engine.least_tokens_per_second" in words
    accepted = float(words.rpartition("= ")[2].rstrip("."))
    assert 0 < accepted < found.tokens_per_second
    lay(MODEL, PLAN, found, 4 * GB, accepted)


def test_without_room_for_two_layers_nothing_helps() -> None:
    found = predict(MODEL, PLAN, GB, 1e10)
    with pytest.raises(ModelLoadFailed, match="shorter --context"):
        lay(MODEL, PLAN, found, GB, 0.0)


def test_of_a_mixture_only_the_experts_that_a_token_needs_come_from_disk() -> None:
    mixture = predict(MODEL, PLAN, 4 * GB, 1e9, 1e12, Experts(5 * GB, 0.25))
    assert mixture.streamed < 5 * GB * 0.25
    assert mixture.tokens_per_second > 2 * predict(MODEL, PLAN, 4 * GB, 1e9).tokens_per_second


def test_the_kv_cache_is_that_of_one_conversation() -> None:
    wide = structs.replace(PLAN, cells=16384, context_limit=8192)
    assert (frugal(wide, 0).cells, frugal(wide, 0).context_limit) == (4096, 4096)
    assert frugal(wide, 8192).cells == 8192
    assert frugal(PLAN, 0) == PLAN


def test_an_unmeasured_disk_is_taken_for_a_slow_one() -> None:
    unknown = predict(MODEL, PLAN, 4 * GB, None)
    assert unknown.tokens_per_second < predict(MODEL, PLAN, 4 * GB, 1e9).tokens_per_second
    assert structs.asdict(unknown)["disk"] > 0
