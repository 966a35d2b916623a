"""Sequences on their way to another engine: a file with all that is needed to go on exactly there.

What follows from the tokens is made again from them: penalties, grammar, half a character, half a
stop string, a tool call that is open. What does not is written down: the place in the random
numbers, what was used so far, the KV cells. Where these do not fit the other engine, it computes.

The file: eight bytes of name, the head's length, the head, then the states.
"""

import os
import struct
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import Context
from ai_assistant.engine.moving import too_long
from ai_assistant.engine.outbox import Outbox, Tally
from ai_assistant.engine.sampling import RandomState
from ai_assistant.engine.sequence import Sequence, replay
from ai_assistant.engine.setup import Parts
from ai_assistant.kvcache.blocks import State
from ai_assistant.protocol.errors import AssistantError, EngineError, InvalidRequest
from ai_assistant.protocol.frames import Failed
from ai_assistant.protocol.requests import GenerateRequest

NAME = b"aia-seq1"
_LENGTH = struct.Struct("<Q")


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence. Ages are in seconds, None: not yet."""

    index: int
    tokens: bytes
    """32-bit, in this machine's order."""
    prompt: int
    computed: int
    cached: int
    numbers: RandomState
    queued: float
    started: float | None
    first_token: float | None
    state: int
    """Bytes of its cells in the file; 0: none."""


class CarriedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request and those of its choices that have not ended."""

    request: GenerateRequest
    tally: Tally
    sequences: tuple[Carried, ...]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the file begins with."""

    fingerprint: bytes
    """Of the engine that saved the cells."""
    requests: tuple[CarriedRequest, ...]


class Arrived(msgspec.Struct, frozen=True):
    """A request that goes on here: its choices, and the cells of those that have some."""

    request_id: str
    tally: Tally
    sequences: list[tuple[Sequence, State | None]]


# Writing.


def leave(path: Path, parts: Parts, outbox: Outbox, fingerprint: bytes) -> tuple[int, int]:
    """Write all sequences of an engine, which keeps them; how many, and the file's size.

    Where there is no room for the cells, they are left out. Raises `OSError` where there is none
    for anything.
    """
    sequences = [*parts.batcher.running, *parts.batcher.waiting]
    states = [_state(sequence, parts.context) for sequence in sequences]
    try:
        size = _write_all(path, sequences, states, outbox, fingerprint)
    except OSError:
        size = _write_all(path, sequences, [None] * len(sequences), outbox, fingerprint)
    return len(sequences), size


def _state(sequence: Sequence, context: Context) -> State | None:
    if sequence.slot < 0:
        return sequence.state
    return context.save(sequence.slot) if sequence.computed else None


def _write_all(
    path: Path,
    sequences: list[Sequence],
    states: list[State | None],
    outbox: Outbox,
    fingerprint: bytes,
) -> int:
    requests: dict[str, list[Carried]] = {}
    asked: dict[str, GenerateRequest] = {}
    by_request: dict[str, list[State]] = {}
    for sequence, state in zip(sequences, states, strict=True):
        request_id = sequence.request.request_id
        asked[request_id] = sequence.request
        requests.setdefault(request_id, []).append(carry(sequence, state))
        by_request.setdefault(request_id, []).extend([] if state is None else [state])
    carried = (
        CarriedRequest(
            request=asked[name], tally=outbox.tally(name), sequences=tuple(requests[name])
        )
        for name in requests
    )
    ordered = (state for name in requests for state in by_request[name])
    return write(path, Head(fingerprint=fingerprint, requests=tuple(carried)), ordered)


def carry(sequence: Sequence, state: State | None) -> Carried:
    """A sequence as data. Its output has nothing left to send."""
    now = time.perf_counter()
    return Carried(
        index=sequence.index,
        tokens=sequence.tokens.tobytes(),
        prompt=sequence.prompt_length,
        computed=sequence.computed if state is not None else 0,
        cached=sequence.cached,
        numbers=sequence.sampler.numbers,
        queued=now - sequence.queued_at,
        started=_age(sequence.started_at, now),
        first_token=_age(sequence.first_token_at, now),
        state=0 if state is None else state.nbytes,
    )


def _age(moment: float, now: float) -> float | None:
    return now - moment if moment else None


def write(path: Path, head: Head, states: Iterable[State]) -> int:
    """Put a file there, for its owner alone, or none; its size. Raises `OSError`."""
    body = msgspec.msgpack.encode(head)
    part = path.with_name(path.name + ".part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(NAME + _LENGTH.pack(len(body)) + body)
            for state in states:
                file.write(state.data)
            size = file.tell()
        part.replace(path)
        return size
    finally:
        part.unlink(missing_ok=True)


# Reading.


def read(path: Path) -> tuple[Head, list[State]]:
    """A file's head and its states, in the order of the sequences that have one.

    Raises `EngineError` where it is not whole, `OSError` where it cannot be read.
    """
    with path.open("rb") as file:
        head = _head(file)
        sizes = [one.state for request in head.requests for one in request.sequences if one.state]
        start = file.tell()
        if path.stat().st_size != start + sum(sizes):
            raise EngineError("What the other engine wrote is not whole.")
        return head, [np.fromfile(file, np.uint8, size) for size in sizes]


def _head(file: BinaryIO) -> Head:
    start = file.read(len(NAME) + _LENGTH.size)
    if len(start) < len(NAME) + _LENGTH.size or start[: len(NAME)] != NAME:
        raise EngineError("This is no file of sequences.")
    try:
        return msgspec.msgpack.decode(file.read(_LENGTH.unpack(start[len(NAME) :])[0]), type=Head)
    except (msgspec.DecodeError, OverflowError, MemoryError) as error:
        raise EngineError(f"What the other engine wrote cannot be read: {error}") from None


def arrive(path: Path, intake: Intake, fingerprint: bytes) -> list[Arrived | Failed]:
    """The requests of a file as they go on in this engine.

    Raises `EngineError` or `OSError` where the file is not usable, and `InvalidRequest` where a
    conversation is too long for this engine: then none of them goes on here.
    """
    head, states = read(path)
    longest = max((len(one.tokens) for r in head.requests for one in r.sequences), default=0) // 4
    if longest >= intake.limit:
        raise InvalidRequest(too_long(longest, intake.limit), param="context")
    fits = head.fingerprint == fingerprint
    rest = iter(states)
    found: list[Arrived | Failed] = []
    for carried in head.requests:
        own = [next(rest) if one.state else None for one in carried.sequences]
        found.append(_arrived(carried, own if fits else [None] * len(own), intake))
    return found


def _arrived(
    carried: CarriedRequest, states: list[State | None], intake: Intake
) -> Arrived | Failed:
    request_id = carried.request.request_id
    try:
        sequences = revive(carried, intake)
    except AssistantError as error:
        return Failed(request_id, error.info())
    except Exception as error:  # noqa: BLE001 - a request must never end in silence
        reason = EngineError(f"The answer could not be taken over: {error}")
        return Failed(request_id, reason.info())
    for sequence, state in zip(sequences, states, strict=True):
        if state is None:
            sequence.computed = 0
    return Arrived(request_id, carried.tally, list(zip(sequences, states, strict=True)))


def revive(carried: CarriedRequest, intake: Intake) -> list[Sequence]:
    """The sequences of a request, each in the very state in which it was left.

    Raises `AssistantError` where the request cannot be prepared here.
    """
    tokens = {one.index: array("i", one.tokens) for one in carried.sequences}
    prompts = {one.index: tokens[one.index][: one.prompt] for one in carried.sequences}
    made = intake.again(carried.request, prompts)
    for sequence, one in zip(made, carried.sequences, strict=True):
        replay(sequence, tokens[one.index][one.prompt :])
        sequence.sampler.numbers = one.numbers
        sequence.computed, sequence.cached = one.computed, one.cached
        now = time.perf_counter()
        sequence.queued_at = now - one.queued
        sequence.started_at = 0.0 if one.started is None else now - one.started
        sequence.first_token_at = 0.0 if one.first_token is None else now - one.first_token
    return made
