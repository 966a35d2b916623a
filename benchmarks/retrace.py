"""Whether a text is what a model says, checked step by step to its end.

The same sequence in another batch is summed in another order, so greedy decode may take the other
of two tokens that are almost equally likely, and goes another way from there. Such a parting is a
close call, and what follows it must be what the model says after it: a character that is missing
or repeated later is found. A parting at a token that was clearly the likeliest is a difference.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from benchmarks.client import Answer
from benchmarks.ties import CONTROL

END = b"\xff"
"""Stands for the end of the answer; no text holds it."""
CLOSE_CALL = 0.5
"""Nats between two tokens within which another batch may turn the choice: what the tests of the
engine allow (one prompt's logits were seen to differ by 0.49 between batches of 15 and of 120)."""
_MOST_PARTINGS = 12


@dataclass(frozen=True)
class Token:
    """One token of a path: its bytes, and how many nats less likely the others were."""

    text: bytes
    others: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Parting:
    """Where a text leaves a path."""

    at: int
    """Bytes that both share."""
    taken: bytes
    """The token that the text goes on with; empty: none of the likeliest fits."""
    nats: float
    """Between the likeliest token and the one that was taken."""


@dataclass
class Trace:
    """What became of one text."""

    closest: list[float] = field(default_factory=list)
    """The nats of each close call on the way."""
    difference: Parting | None = None
    """A parting that is none."""
    instead: str = ""
    """What the model says there."""

    @property
    def right(self) -> bool:
        """It is what the model says."""
        return self.difference is None


Ask = Callable[[str], Awaitable[Sequence[Token]]]
"""The tokens that follow after a beginning of the answer."""


def path_of(answer: Answer) -> list[Token]:
    """The tokens of a chat answer that was asked for with `logprobs` and `ignore_eos`."""
    tokens = [
        _token(entry)
        for _, event in answer.events
        for choice in event.get("choices", ())
        for entry in (choice.get("logprobs") or {}).get("content") or ()
    ]
    end = next((at for at, token in enumerate(tokens, 1) if token.text == END), len(tokens))
    return tokens[:end]


def _token(entry: dict[str, Any]) -> Token:
    own = _text_of(entry)
    others = ((_text_of(top), entry["logprob"] - top["logprob"]) for top in entry["top_logprobs"])
    return Token(own, tuple(one for one in others if one[0] != own))


def _text_of(entry: dict[str, Any]) -> bytes:
    return END if CONTROL.fullmatch(entry["token"]) else bytes(entry["bytes"])


def parting(path: Sequence[Token], text: bytes) -> Parting | None:
    """Where `text` leaves the path; None: one of them is the beginning of the other.

    A longer token may have been taken before the place where the letters differ: " how" for " ".
    """
    at = 0
    fitting: list[tuple[int, bytes, float]] = []
    for token in path:
        fitting += [(at, other, nats) for other, nats in token.others if text.startswith(other, at)]
        if text.startswith(token.text, at):
            at += len(token.text)
            continue
        if token.text.startswith(text[at:]):
            return None
        reaching = [one for one in fitting if one[0] + len(one[1]) > at or one[0] == at]
        begun, taken, nats = min(reaching, key=lambda one: one[2], default=(at, b"", inf))
        return Parting(begun, taken, nats)
    return None


async def retraced(ask: Ask, text: str, *, begun: str = "", whole: bool = False) -> Trace:
    """Follow the text from `begun` on; each close call is asked anew from behind it.

    `whole`: the model ended there by itself.
    """
    data, place = text.encode() + (END if whole else b""), len(begun.encode())
    trace = Trace()
    while place < len(data):
        path = await ask(data[:place].decode())
        found = parting(path, data[place:])
        if found is None:
            return trace
        if not found.taken or found.nats >= CLOSE_CALL or len(trace.closest) == _MOST_PARTINGS:
            trace.difference = Parting(place + found.at, found.taken, found.nats)
            trace.instead = b"".join(token.text for token in path).decode(errors="replace")
            return trace
        trace.closest.append(found.nats)
        place = _boundary(data, place + found.at + len(found.taken))
    return trace


def _boundary(data: bytes, place: int) -> int:
    """The next place between two characters."""
    while place < len(data) and data[place] & 0xC0 == 0x80:
        place += 1
    return place
