"""A plan with some of it changed by the owner: what is named changes, the rest stays."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ai_assistant.devices.replan import read_changes, replan, room_for_both
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.status import ModelInfo

PLAN = EnginePlan(
    model_path="/m.gguf", context_limit=2048, cells=16384, slots=4, retained=8, chunk=512,
    threads=4, threads_batch=4,
)  # fmt: skip
MODEL = ModelInfo(
    id="m", name="m", path="/m.gguf", size_bytes=4 << 30, architecture="llama", quantisation="q4",
    parameters=0, context_train=32768, kv_bytes_per_token=131072,
)  # fmt: skip
GIGABYTE = 1 << 30


def planned(memory: int = 64 * GIGABYTE, **values: Any) -> EnginePlan:
    return replan(PLAN, read_changes(values), MODEL, memory)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"threads": "2"}, {"threads": 2, "threads_batch": 2, "elastic_threads": False}),
        ({"context": "4096"}, {"context_limit": 4096}),
        ({"context": 20000}, {"context_limit": 20000, "cells": 20224}),
        ({"cells": 1024}, {"cells": 1024, "context_limit": 1024}),
        ({"gpu_layers": "-1", "share_weights": "true"}, {"share_weights": True}),
        ({"kv_type": "q8_0", "slots": 6, "chunk": "256"},
         {"kv_type": "q8_0", "slots": 6, "chunk": 256}),
    ],
)  # fmt: skip
def test_what_is_named_changes_and_nothing_else(
    values: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert planned(**values) == structs.replace(PLAN, **expected)


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "plan"),
        ({"thread": 2}, "plan.thread"),
        ({"threads": 0}, "plan.threads"),
        ({"threads": "many"}, "plan.threads"),
        ({"kv_type": "q9"}, "plan.kv_type"),
        ({"cells": 1024, "context": 4096}, "plan.cells"),
        ({"context": 1 << 22}, "plan.context"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(values: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(**values)
    assert caught.value.param == param


def test_refusal_of_a_large_cache_says_what_would_fit() -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(2 * GIGABYTE, context=100_000)
    fits = int(caught.value.message.split("at most ")[1].split(" tokens")[0].replace(",", ""))
    assert planned(2 * GIGABYTE, context=fits).cells == fits


values_of = st.one_of(st.text(max_size=8), st.integers(), st.none(), st.lists(st.integers()))
names = st.one_of(st.text(max_size=12), st.sampled_from(["threads", "context", "kv_type", "slots"]))


@given(st.dictionaries(names, values_of))
def test_any_values_are_a_plan_or_a_refusal(values: dict[str, Any]) -> None:
    try:
        found = planned(**values)
    except InvalidRequest:
        return
    assert found.cells >= found.context_limit


def test_room_is_counted_where_the_layers_go() -> None:
    plan = structs.replace(PLAN, gpu_layers=99)
    assert room_for_both(MODEL, plan, 64 * GIGABYTE, None)
    assert not room_for_both(MODEL, plan, 4 * GIGABYTE, None)
    assert not room_for_both(MODEL, plan, 64 * GIGABYTE, 4 * GIGABYTE)
    assert room_for_both(MODEL, structs.replace(plan, gpu_layers=0), 64 * GIGABYTE, 0)
