"""A running sequence's blocks, as far as it is computed, for the engine of another node."""

import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

from ai_assistant.engine.identity import layout, weights
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.saving import WORTH_KEEPING
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.setup import WORD, Parts
from ai_assistant.engine.spelling import Names
from ai_assistant.kvcache.blocks import BLOCK, State
from ai_assistant.kvcache.cold.codec import pack
from ai_assistant.protocol.blocks import BlockHead, Head, Offered, Part, Refused
from ai_assistant.protocol.engine_plan import EnginePlan

SLICE = 1 << 20
"""Bytes that go into the pipe at once: reports of the streams go between them."""


def holder(parts: Parts, request_id: str) -> Sequence | None:
    """The sequence of a request, where it is the only one and has finished blocks."""
    found = parts.batcher.of_request(request_id)
    if len(found) != 1 or found[0].slot < 0 or found[0].computed < BLOCK:
        return None
    return found[0]


def known(sequence: Sequence) -> "array[int]":
    """Its tokens that are computed; a short tail is left out."""
    whole = sequence.computed // BLOCK * BLOCK
    tail = sequence.computed - whole
    return sequence.tokens[: whole + (tail if tail >= WORTH_KEEPING else 0)]


def size_of(sequence: Sequence, parts: Parts) -> int:
    """Bytes of one block's state, about."""
    return parts.context.state_bytes(sequence.slot) * BLOCK // sequence.computed


def state_of(sequence: Sequence, index: int, tokens: int, parts: Parts) -> State:
    """The state of one block of so many tokens: a copy that the tier in memory has already, or a
    new one."""
    names, end = parts.cache.names(sequence.slot), (index + 1) * BLOCK
    whole = index < len(names) and end <= tokens
    warm = parts.residence.tiers.warm.get(names[index]) if whole else None
    if warm is not None:
        return warm.state
    return parts.context.save_range(sequence.slot, index * BLOCK, min(end, tokens))


def offer(
    tokens: "array[int]", size: int, plan: EnginePlan, model: Model, names: Names
) -> Offered | Refused:
    """Tokens as the text that they are. It may take half a second once."""
    ids = names.read()
    pieces = [names.piece(token) for token in tokens]
    if any(ids.get(piece) != token for piece, token in zip(pieces, tokens, strict=True)):
        return Refused("other tokens are written like these")
    return Offered(
        model=weights(Path(plan.model_path)),
        fits=layout(plan, model),
        text=b"".join(pieces),
        cuts=tuple(map(len, pieces)),
        block_tokens=BLOCK,
        block_bytes=size,
    )


def packed(index: int, state: State, plan: EnginePlan) -> Iterator[Part]:
    """A block in slices; all have the same head."""
    found = pack(state, WORD.get(plan.kv_type, 1))
    payload = b"".join(found.pieces)
    block = BlockHead(
        index=index,
        codec=found.codec,
        word=found.word,
        raw=found.raw,
        checksum=zlib.crc32(payload),
    )
    for start in range(0, len(payload), SLICE):
        yield Part(Head(block=block), payload[start : start + SLICE])
