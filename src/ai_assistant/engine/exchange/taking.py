"""Blocks that another node's engine computed: what is looked at before one is used here.

The other one's names count for nothing: the tokens are found by their text, and the block is named
by them and by whose it is here. So it is found by that tenant alone, and only for these tokens.
"""

from array import array
from pathlib import Path

import msgspec
import numpy as np

from ai_assistant.engine.exchange.sound import Unsound, check_state
from ai_assistant.engine.identity import layout, weights
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.setup import Parts
from ai_assistant.engine.spelling import Names
from ai_assistant.kvcache.blocks import BLOCK, Block, BlockId, State, block_name, block_names
from ai_assistant.kvcache.cold.codec import unpack
from ai_assistant.protocol.blocks import (
    Offered,
    Part,
    Refused,
    TakeBlock,
    Taken,
    WeighBlocks,
    Weighed,
    is_sound,
)
from ai_assistant.protocol.engine_plan import EnginePlan


class Checked(msgspec.Struct, frozen=True):
    """What was asked of the loop, once all is looked at that takes time."""

    ask_id: str
    ask: WeighBlocks | TakeBlock
    tokens: "array[int]"
    kv_type: str
    """As it was then."""
    state: State | None = None


class Unusable(Exception):
    """The blocks are not for this engine."""


# Beside the loop.


def tokens_of(offered: Offered, plan: EnginePlan, model: Model, names: Names) -> "array[int]":
    """The tokens of an offer; raises `Unusable` where its blocks could not be used here."""
    if not model.shares_prefixes:
        raise Unusable("this model's state cannot be cut into blocks")
    if not plan.warm_bytes:
        raise Unusable("the tier in memory is off (cache.ram)")
    if offered.model != weights(Path(plan.model_path)):
        raise Unusable("they are of another model file")
    if offered.fits != layout(plan, model):
        raise Unusable("they are of other kernels or another type of KV cache")
    if not is_sound(offered) or offered.block_tokens != BLOCK:
        raise Unusable("their cuts do not fit their text")
    if len(offered.cuts) >= plan.context_limit:
        raise Unusable("they are longer than a conversation may be here")
    ids = names.read()
    found, place = array("i"), 0
    for length in offered.cuts:
        found.append(ids.get(offered.text[place : place + length], -1))
        place += length
    if -1 in found:
        raise Unusable("the model has no such token")
    return found


def state_of(part: Part, plan: EnginePlan, layers: int) -> State:
    """The state in a part; raises `Unusable` where it is not that of the part's last block."""
    block, offered = part.head.block, part.head.offered
    if block is None or offered is None or offered.blocks != block.index + 1:
        raise Unusable("the text does not end with the block")
    if block.raw > plan.warm_bytes:
        raise Unusable("a block is larger than the tier in memory")
    start = block.index * BLOCK
    try:
        payload = np.frombuffer(part.payload, np.uint8)
        state = unpack(block.codec, block.word, block.raw, payload)
        count = len(offered.cuts) - start
        check_state(state, start=start, count=count, layers=layers, kv_type=plan.kv_type)
    except (ValueError, Unsound) as error:
        raise Unusable(str(error)) from None
    return state


# In the loop.


def weigh(checked: Checked, parts: Parts, room: int) -> Weighed:
    """What an engine knows of these tokens itself, and how quickly it would compute them."""
    known = _known(checked, parts)
    step = parts.tempo.times.seconds(BLOCK) if parts.tempo.times.known else None
    # Short prompts are slower by token than long ones: the quicker figure is the honest one.
    prefill = max(parts.residence.speeds.prefill, BLOCK / step if step else 0.0)
    return Weighed(known=known, prefill=prefill, room=room)


def take(checked: Checked, parts: Parts) -> Taken | Refused:
    """Put the block behind those before it; what is known here already stays as it is."""
    assert checked.state is not None
    tiers, index = parts.residence.tiers, (len(checked.tokens) - 1) // BLOCK
    if _known(checked, parts) < index:
        return Refused("the block before it is not here")
    tokens = checked.tokens[index * BLOCK :]
    parent = _names(checked, parts)[index - 1] if index else parts.cache.root_of(_salt(checked))
    name = block_name(parent, tokens)
    if not tiers.has(name):
        block = Block(BlockId(parent, name, len(tokens)), tokens, checked.state)
        tiers.put(block, durable=False)
    return Taken() if tiers.has(name) else Refused("the tier in memory is full")


def _known(checked: Checked, parts: Parts) -> int:
    """Whole blocks from the beginning, in the context or in the tiers."""
    hot = parts.cache.match(checked.tokens, _salt(checked)).length // BLOCK
    names = _names(checked, parts)
    here = next((i for i, name in enumerate(names) if not parts.residence.tiers.has(name)), None)
    return max(hot, len(names) if here is None else here)


def _names(checked: Checked, parts: Parts) -> list[bytes]:
    return list(block_names(parts.cache.root_of(_salt(checked)), checked.tokens))


def _salt(checked: Checked) -> bytes:
    return checked.ask.tenant.encode()
