"""Is another answer only rounding, or wrong?

The same sequence in another batch is summed in another order. Where two tokens are almost equally
likely, greedy decode may then take the other one, and all that follows differs. That is a tie. A
difference at a token that was clearly the likeliest is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.client import Answer

TIE = 0.5
"""Nats between two tokens. Quantised kernels differ by up to 0.2 between batch shapes."""
CONTROL = re.compile(r"<\|.*\|>|</?s>|")
"""Tokens that are no text, or none to be seen."""
UNPRINTABLE = "\ufffd"


@dataclass(frozen=True)
class Step:
    """One token of an answer, and the likeliest others."""

    token: str
    logprob: float
    others: dict[str, float]

    def ties(self) -> list[str]:
        """The tokens that were almost as likely."""
        return [text for text, value in self.others.items() if self.logprob - value < TIE]


def steps(answer: Answer) -> list[Step]:
    """The tokens of an answer that was asked for with `logprobs`."""
    return [
        step
        for _, event in answer.events
        for choice in event.get("choices", ())
        for step in _read(choice.get("logprobs") or {})
    ]


def is_tie(expected: list[Step], text: str) -> bool:
    """Whether `text` leaves the expected path at a tie, and by it."""
    for i, step in enumerate(expected):
        if UNPRINTABLE in step.token or any(UNPRINTABLE in other for other in step.others):
            return any(later.ties() for later in expected[i:])  # half a letter: text cannot tell
        silent = CONTROL.fullmatch(step.token) is not None
        if silent or not text.startswith(step.token):
            if any(CONTROL.fullmatch(other) or text.startswith(other) for other in step.ties()):
                return True
            if not silent:
                return False
        text = text.removeprefix(step.token)
    return False


def _read(logprobs: dict[str, Any]) -> Iterator[Step]:
    for entry in logprobs.get("content") or ():
        tops = {top["token"]: top["logprob"] for top in entry["top_logprobs"]}
        yield _step(entry["token"], entry["logprob"], tops)
    rows = (logprobs.get(key) or () for key in ("tokens", "token_logprobs", "top_logprobs"))
    for token, logprob, tops in zip(*rows, strict=True):
        yield _step(token, logprob, tops)


def _step(token: str, logprob: float, tops: dict[str, float]) -> Step:
    return Step(token, logprob, {text: value for text, value in tops.items() if text != token})
