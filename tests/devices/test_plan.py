"""How a model is laid out, by table."""

import msgspec
import pytest
from tests.devices.layout_tools import anatomy

from ai_assistant.devices.plan import CELL_STEP, Machine, choices, memory_need, plan_engine
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.status import ModelInfo

GB = 1 << 30


def model(*, context: int = 2048, kv_bytes: int = 10_240, embedding: bool = False) -> ModelInfo:
    return ModelInfo(
        id="m",
        name="m",
        path="/m.gguf",
        size_bytes=GB,
        architecture="llama",
        quantisation="Q8_0",
        parameters=10**9,
        context_train=context,
        embedding=embedding,
        kv_bytes_per_token=kv_bytes,
    )


@pytest.mark.parametrize(
    ("context_train", "kv_bytes", "free", "limit", "cells"),
    [
        (2048, 10_240, 16 * GB, 2048, 16_384),  # small: room for eight full conversations
        (131_072, 131_072, 64 * GB, 32_768, 32_768),  # long: capped, memory is taken at the start
        (131_072, 131_072, 8 * GB, 14_336, 14_336),  # tight: a quarter of what is free
        (131_072, 131_072, GB // 2, 256, 256),  # very tight: still something
        (0, 10_240, 16 * GB, 4096, 16_384),  # the file does not say
        (4096, 0, 16 * GB, 4096, 16_384),  # a recurrent state does not grow
    ],
)
def test_context_follows_the_model_and_the_memory(
    context_train: int, kv_bytes: int, free: int, limit: int, cells: int
) -> None:
    plan = plan_engine(
        model(context=context_train, kv_bytes=kv_bytes), Machine(4, free), EngineSettings()
    )
    assert (plan.context_limit, plan.cells) == (limit, cells)
    assert plan.threads == 4


def test_owner_wins() -> None:
    settings = EngineSettings(context=1000, slots=3, threads=2, chunk=128, kv_type="q8_0")
    plan = plan_engine(model(), Machine(8, 16 * GB), settings)
    assert (plan.context_limit, plan.slots, plan.threads, plan.chunk) == (1000, 3, 2, 128)
    assert plan.cells % CELL_STEP == 0


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ModelLoadFailed) as caught:
        plan_engine(model(), Machine(4, 8 * GB), EngineSettings(context=50_000_000))
    assert "512.0 GB" in caught.value.message
    assert "8.6 GB are free" in caught.value.message
    assert "at most" in caught.value.message


def test_quantised_cache_takes_less() -> None:
    small, large = (
        memory_need(
            model(),
            plan_engine(model(), Machine(4, 16 * GB), EngineSettings(kv_type=kind, context=2048)),
        )
        for kind in ("q8_0", "f16")
    )
    assert small < large


def test_embedding_model_reads_its_longest_input_at_once() -> None:
    plan = plan_engine(model(context=512, embedding=True), Machine(4, 16 * GB), EngineSettings())
    assert plan.embedding
    assert plan.chunk == plan.cells == 512


@pytest.mark.parametrize(
    ("workload", "least"), [("chat", 4096), ("agent", 8448), ("batch", 20_992)]
)
def test_context_is_never_too_short_for_the_work(workload: str, least: int) -> None:
    settings = msgspec.convert({"workload": workload}, EngineSettings)
    machine = Machine(8, 64 * GB, (8 * GB,))
    wanted = choices(model(context=131_072), anatomy(), machine, settings)
    assert wanted.cells[0] == 32_768
    assert wanted.cells[-1] == least
    assert list(wanted.cells) == sorted(wanted.cells, reverse=True)


def test_owners_settings_leave_no_choice() -> None:
    settings = EngineSettings(context=5000, kv_type="q8_0", chunk=256, gpu_layers=3, threads=2)
    wanted = choices(model(), anatomy(), Machine(8, 64 * GB, (8 * GB,)), settings)
    assert len(wanted.cells) == len(wanted.kv_types) == len(wanted.chunks) == 1
    assert (wanted.kv_types, wanted.chunks, wanted.gpu_layers) == (("q8_0",), (256,), 3)
