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

TIE = 1.0
"""Nats between two tokens. Kernels round activations to 8 bits, so the smallest difference before
moves each log-probability by 0.1 on average and one in a hundred by 0.26 (starter, Q8_0): as much
between F16 and F32 caches, or flash attention and none, as between a batch and one sequence."""
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
    """The tokens of a chat answer that was asked for with `logprobs`."""
    return [
        step
        for _, event in answer.events
        for choice in event.get("choices", ())
        for step in _read(choice.get("logprobs") or {})
    ]


def is_tie(expected: list[Step], text: str) -> bool:
    """Whether `text` leaves the expected path at a tie, and by it."""
    doubtful = 0
    """Characters ahead that may be the beginning of another token: " how" instead of " "."""
    for i, step in enumerate(expected):
        if UNPRINTABLE in step.token or any(UNPRINTABLE in other for other in step.others):
            return any(later.ties() for later in expected[i:])  # half a letter: text cannot tell
        fitting = [other for other in step.ties() if _fits(other, text)]
        if CONTROL.fullmatch(step.token):
            if fitting:
                return True
            continue
        if not text.startswith(step.token):
            return bool(fitting) or doubtful > 0
        doubtful = max(doubtful, *map(len, fitting), 0) - len(step.token)
        text = text.removeprefix(step.token)
    # The path's last token may be the beginning of the one that was taken: " year" for " ".
    return bool(text) and doubtful > 0


def _fits(token: str, text: str) -> bool:
    return CONTROL.fullmatch(token) is not None or text.startswith(token)


def _read(logprobs: dict[str, Any]) -> Iterator[Step]:
    for entry in logprobs.get("content") or ():
        tops = {top["token"]: top["logprob"] for top in entry["top_logprobs"]}
        yield _step(entry["token"], entry["logprob"], tops)


def _step(token: str, logprob: float, tops: dict[str, float]) -> Step:
    return Step(token, logprob, {text: value for text, value in tops.items() if text != token})
