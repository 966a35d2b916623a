"""A draft model's kernels: what it computes, and how long that takes."""

import time
from array import array
from collections.abc import Sequence as Items
from typing import NamedTuple, Protocol

import numpy as np

from ai_assistant.engine.drafts.slots import Slot, Slots
from ai_assistant.engine.kernels import Context, Model

CHUNK = 256
"""Tokens of one decode call at most."""
MEASURED = (1, 1, 2, 4, 16, 64)
"""Tokens of the steps that are timed when it is loaded; the first one touches the weights."""
MEASURE_SECONDS = 1.0
FEW_THREADS = 2
"""Enough where all its layers are on a GPU."""


class Times(Protocol):
    """What steps take, learned from them."""

    def seconds(self, tokens: int) -> float | None: ...
    def tokens_within(self, seconds: float) -> int: ...
    def observe(self, tokens: int, seconds: float, disturbed: bool = False) -> None: ...


class Token(NamedTuple):
    """What the draft model would say next."""

    token: int
    chance: float
    """In its own opinion."""


class DraftModel:
    """A model and its context. `slots` says what lies in it."""

    def __init__(
        self, model: Model, context: Context, times: Times, slots: Slots, vocabulary: int
    ) -> None:
        """`vocabulary`: of the target; tokens beyond it are never drafted."""
        self._model = model
        self._context = context
        self._vocabulary = min(vocabulary, model.vocabulary.size)
        self._threads = 0
        self.slots = slots
        self.times = times
        self.ends = model.vocabulary.ends

    @property
    def bytes(self) -> int:
        """Of its weights."""
        return sum(self._model.weights.values())

    def close(self) -> None:
        """Free the memory."""
        self._context.close()
        self._model.close()

    def seconds(self, tokens: int) -> float:
        """Of a step of so many tokens."""
        return self.times.seconds(tokens) or 1.0

    def use_threads(self, threads: int) -> None:
        """From the next call on."""
        threads = min(threads, FEW_THREADS) if self._model.all_on_gpu else threads
        if threads != self._threads:
            self._threads = threads
            self._context.set_threads(threads, threads)

    def measure(self) -> None:
        """Time a few steps over an empty context."""
        end = time.perf_counter() + MEASURE_SECONDS
        batch, bos = self._context.batch, max(self._model.vocabulary.bos, 0)
        for number, tokens in enumerate(MEASURED):
            batch.clear()
            batch.add(0, 0, array("i", [bos] * tokens), 1)
            seconds = self._compute(learn=number > 0)
            self._context.clear()
            if time.perf_counter() + 4 * seconds > end and number:
                break

    def trim(self, slot: Slot, length: int) -> None:
        """Forget what comes behind the first `length` tokens."""
        if len(slot.tokens) > length:
            self._context.trim(slot.id, length)
            del slot.tokens[length:]
            slot.agreed = min(slot.agreed, length)

    def read(self, slot: Slot, tokens: "array[int]") -> float:
        """Compute tokens that are known already; the seconds it took."""
        batch = self._context.batch
        batch.clear()
        self._put(slot, tokens)
        return self._compute()

    def ask(self, asked: Items[tuple[Slot, "array[int]"]]) -> list[Token]:
        """One decode call: for each slot these tokens, and what would come after them."""
        self._context.batch.clear()
        for slot, tokens in asked:
            self._put(slot, tokens)
        self._compute()
        rows = self._context.logits(len(asked))[:, : self._vocabulary]
        best: list[int] = rows.argmax(axis=1).tolist()
        return [
            Token(token, 1.0 / float(np.exp(row - row[token]).sum()))
            for token, row in zip(best, rows, strict=True)
        ]

    def _put(self, slot: Slot, tokens: "array[int]") -> None:
        self._context.batch.add(slot.id, len(slot.tokens), tokens, 1)
        slot.tokens.extend(tokens)

    def _compute(self, *, learn: bool = True) -> float:
        context = self._context
        begun = time.perf_counter()
        context.decode(context.batch)
        context.logits(1)[0, 0]  # A GPU may compute until somebody looks.
        seconds = time.perf_counter() - begun
        if learn:
            self.times.observe(context.batch.size, seconds)
        return seconds
