"""Which parts of a file a step needs, in its order, and which of them stay in memory: pure."""

import re
from collections.abc import Iterable

import msgspec

LAYER = re.compile(r"^blk\.(\d+)\.")
EXPERTS = "_exps"
AHEAD = 2.5
"""Layers that are read ahead of the one that is computed."""
GAP = 1 << 16
"""Bytes between two tensors that are read along."""


class Place(msgspec.Struct, frozen=True):
    """Where a tensor's data lie in the file."""

    name: str
    start: int
    bytes: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.bytes


class Span(msgspec.Struct, frozen=True):
    """A part of the file."""

    start: int
    end: int

    @property
    def bytes(self) -> int:
        """Its length."""
        return self.end - self.start

    def pieces(self, size: int) -> "list[Span]":
        """It in parts of at most so many bytes."""
        starts = range(self.start, self.end, size)
        return [Span(start, min(start + size, self.end)) for start in starts]


class Division(msgspec.Struct, frozen=True, kw_only=True):
    """What stays and what comes and goes, by layer in the order of a step; the output is last."""

    kept: tuple[tuple[Span, ...], ...]
    streamed: tuple[tuple[Span, ...], ...]
    window: int
    """Streamed bytes that may be in memory at once."""

    @property
    def bytes_kept(self) -> int:
        """In memory for good."""
        return sum(span.bytes for spans in self.kept for span in spans)

    @property
    def bytes_streamed(self) -> int:
        """Read from disk in every step."""
        return sum(span.bytes for spans in self.streamed for span in spans)


def step_order(places: Iterable[Place]) -> list[list[Span]]:
    """The parts of the file that each layer needs, and at the end what the output needs.

    The table of embeddings, of which a step needs a row a token, is left out unless it is the
    output matrix too. A mixture's experts are left out: who is needed is known too late to read
    ahead, and the system's own cache, which keeps what was used last, is right about them.
    """
    layers: dict[int, list[Place]] = {}
    outside: list[Place] = []
    for place in places:
        if EXPERTS in place.name:
            continue
        found = LAYER.match(place.name)
        (layers.setdefault(int(found[1]), []) if found else outside).append(place)
    tied = not any(place.name == "output.weight" for place in outside)
    output = [one for one in outside if tied or not one.name.startswith("token_embd")]
    return [_merged(layers[number]) for number in sorted(layers)] + [_merged(output)]


def _merged(places: Iterable[Place]) -> list[Span]:
    spans: list[Span] = []
    for place in sorted(places, key=lambda one: one.start):
        if spans and place.start - spans[-1].end <= GAP:
            spans[-1] = Span(spans[-1].start, max(place.end, spans[-1].end))
        else:
            spans.append(Span(place.start, place.end))
    return spans


def divide(order: list[list[Span]], budget: int, page: int = 4096) -> Division:
    """The same share of every layer stays, so that the disk has something to do at any time.

    A step goes through all weights in turn. A cache that drops what was used least recently drops
    just what is needed next and finds nothing; a fixed share is found every time.
    """
    sizes = [sum(span.bytes for span in spans) for spans in order]
    total, window = sum(sizes), _window(sizes)
    share = 1.0
    if budget < total:
        share = max((budget - window) / (total - window), 0.0) if total > window else 0.0
    halves = [[_cut(span, share, page) for span in spans] for spans in order]
    return Division(
        kept=tuple(tuple(one for one, _ in spans if one.bytes > 0) for spans in halves),
        streamed=tuple(tuple(two for _, two in spans if two.bytes > 0) for spans in halves),
        window=int(window * (1 - share)) + page * len(order),
    )


def _window(sizes: list[int]) -> float:
    """Bytes of weights that pass through at once: a layer is computed when all of it is there, and
    the next one is read meanwhile."""
    return max(AHEAD * sum(sizes) / max(len(sizes), 1), sum(sorted(sizes)[-2:]))


def _cut(span: Span, share: float, page: int) -> tuple[Span, Span]:
    """The part that stays and the part that does not; cut between two pages."""
    middle = span.start + int(span.bytes * share)
    middle = span.end if share >= 1 else max(middle // page * page, span.start)
    return Span(span.start, middle), Span(middle, span.end)
