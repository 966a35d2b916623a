"""Every layout that fits, by what a whole turn of the owner's work would take."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from ai_assistant.devices.layout.predict import Bench, Layout, Memory, memory, tpot, ttft
from ai_assistant.protocol.layout import ModelAnatomy

Workload = Literal["chat", "agent", "batch"]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is typical of a kind of work."""

    prompt: int
    """Tokens."""
    known: int
    """Of these: cached from the turn before."""
    answer: int
    streams: int
    """Answers that are written at once."""


TURNS: dict[Workload, Turn] = {
    "chat": Turn(prompt=1500, known=1200, answer=250, streams=1),
    "agent": Turn(prompt=8000, known=6000, answer=300, streams=1),
    "batch": Turn(prompt=1000, known=0, answer=300, streams=16),
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What there is."""

    ram: int
    """Bytes that may be taken."""
    gpu: int = 0


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A layout and what it would do."""

    layout: Layout
    ttft: float
    """Seconds."""
    tpot: float
    """Seconds."""
    tokens_per_second: float
    """Of all streams together, while they write."""
    turn: float
    """Seconds of a whole turn; of a batch, per answer."""
    memory: Memory


def predict(anatomy: ModelAnatomy, bench: Bench, layout: Layout, turn: Turn) -> Prediction:
    """What a layout would do."""
    first = ttft(anatomy, bench, layout, turn.prompt, turn.known)
    depth = turn.prompt + turn.answer / 2
    each = tpot(anatomy, bench, layout, turn.streams, depth)
    return Prediction(
        layout=layout,
        ttft=first,
        tpot=each,
        tokens_per_second=turn.streams / each,
        turn=first + turn.answer * each / turn.streams,
        memory=memory(anatomy, bench, layout),
    )


def layouts(anatomy: ModelAnatomy, bench: Bench, cells: int, chunk: int) -> Iterator[Layout]:
    """All that differ in speed."""
    most = len(anatomy.layers) + 1 if bench.gpu else 0
    for threads in bench.cpu:
        for gpu_layers in range(most + 1):
            yield Layout(gpu_layers=gpu_layers, threads=threads, cells=cells, chunk=chunk)


def best(
    anatomy: ModelAnatomy,
    bench: Bench,
    limits: Limits,
    workload: Workload,
    *,
    cells: int = 4096,
    chunk: int = 512,
) -> list[Prediction]:
    """All layouts that fit, the quickest for this work first; none where nothing fits.

    Of layouts that are as quick as each other within a per cent the one with fewer threads and
    less on the GPU goes first: what is not needed stays free for others.
    """
    turn = TURNS[workload]
    found = [
        predict(anatomy, bench, layout, turn) for layout in layouts(anatomy, bench, cells, chunk)
    ]
    fitting = [
        one for one in found if one.memory.gpu <= limits.gpu and one.memory.ram <= limits.ram
    ]
    if not fitting:
        return []
    quickest = min(one.turn for one in fitting)

    def order(one: Prediction) -> tuple[bool, float, int, int]:
        close = one.turn <= 1.01 * quickest
        layout = one.layout
        return (not close, 0.0 if close else one.turn, layout.threads, layout.gpu_layers)

    return sorted(fitting, key=order)
