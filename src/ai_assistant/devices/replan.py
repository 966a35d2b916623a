"""A plan with some of it changed by the owner, for a model that is in use: a pure decision."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, structs

from ai_assistant.devices.layout.room import of_kv_type
from ai_assistant.devices.plan import CELL_STEP
from ai_assistant.devices.settings import KvType
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.status import ModelInfo

_Count = Annotated[int, Meta(ge=1, le=512)]
_Tokens = Annotated[int, Meta(ge=CELL_STEP, le=1 << 26)]


class Changes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the owner names; None stays as it is. The names are those of the settings."""

    threads: _Count | None = None
    gpu_layers: Annotated[int, Meta(ge=-1)] | None = None
    """-1: all."""
    kv_type: KvType | None = None
    context: _Tokens | None = None
    """Tokens that one conversation may have."""
    cells: _Tokens | None = None
    """Tokens in all conversations."""
    slots: Annotated[int, Meta(ge=1, le=240)] | None = None
    chunk: Annotated[int, Meta(ge=16, le=8192)] | None = None
    share_weights: bool | None = None
    speculation: bool | None = None
    batch_floor: Annotated[float, Meta(ge=0, le=1)] | None = None
    tpot_factor: Annotated[float, Meta(ge=1.05, le=100)] | None = None


_SAME = ("gpu_layers", "kv_type", "slots", "chunk", "share_weights", "speculation", "batch_floor",
         "tpot_factor")  # fmt: skip


def read_changes(values: dict[str, Any]) -> Changes:
    """Of JSON, or of text as it is typed. Raises `InvalidRequest` that names the key."""
    known = Changes.__struct_fields__
    for name in values:
        if name not in known:
            raise InvalidRequest(
                f"A plan has no {name!r}; it has {', '.join(known)}.", param=f"plan.{name}"
            )
    if not values:
        raise InvalidRequest(f"Name what to change: {', '.join(known)}.", param="plan")
    try:
        return msgspec.convert(values, Changes, strict=False)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        raise InvalidRequest(
            f"{name or 'plan'}: {problem[:1].lower()}{problem[1:]}.", param=f"plan.{name}"
        ) from None


def replan(plan: EnginePlan, changes: Changes, model: ModelInfo, memory_free: int) -> EnginePlan:
    """The plan with these changes; raises `InvalidRequest` for what cannot fit.

    `memory_free` is beside what the model takes now.
    """
    values: dict[str, Any] = {
        name: value for name in _SAME if (value := getattr(changes, name)) is not None
    }
    if changes.threads is not None:
        values |= {
            "threads": changes.threads,
            "threads_batch": changes.threads,
            "elastic_threads": False,
        }
    if changes.context is not None or changes.cells is not None:
        context = changes.context or plan.context_limit
        cells = _round_up(changes.cells or max(plan.cells, context))
        if changes.cells and changes.context and cells < context:
            raise InvalidRequest(
                "`cells` holds all conversations: at least `context`.", param="plan.cells"
            )
        values |= {"context_limit": min(context, cells), "cells": cells}
    new = structs.replace(plan, **values)
    _refuse_what_does_not_fit(plan, new, model, memory_free)
    return new


def _refuse_what_does_not_fit(
    old: EnginePlan, new: EnginePlan, model: ModelInfo, memory_free: int
) -> None:
    """The KV cache takes the place of the old one."""
    more = _kv_bytes(new, model) - _kv_bytes(old, model)
    on_gpu = new.gpu_layers != 0
    if more <= memory_free or (on_gpu and model.kv_bytes_per_token == 0):
        return
    fits = (memory_free + _kv_bytes(old, model)) / (_kv_bytes(new, model) / new.cells)
    raise InvalidRequest(
        f"A KV cache of {new.cells:,} tokens takes {more / 1e9:,.1f} GB more than now; "
        f"{memory_free / 1e9:,.1f} GB are free. Ask for at most {int(fits) // 256 * 256:,} tokens, "
        "or for a smaller kv_type such as q8_0.",
        param="plan.context",
    )


def _kv_bytes(plan: EnginePlan, model: ModelInfo) -> float:
    return of_kv_type(model.kv_bytes_per_token * plan.cells, plan.kv_type)


def _round_up(cells: int) -> int:
    return -(-cells // CELL_STEP) * CELL_STEP


SPARE = 512 << 20
"""For the kernels' working space and a second process."""


def room_for_both(
    model: ModelInfo, plan: EnginePlan, memory_free: int, gpu_free: int | None
) -> bool:
    """Whether a second engine with this plan finds place beside the first. Layers on a GPU may be
    all of them: who asks for the first ones only is told no where there might just be room."""
    need = model.size_bytes + int(_kv_bytes(plan, model)) + SPARE
    if gpu_free is None or plan.gpu_layers == 0:
        return need <= memory_free
    return need <= gpu_free and (plan.gpu_layers < 0 or need <= memory_free)
