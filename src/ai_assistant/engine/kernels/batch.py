"""A llama_batch over arrays that are filled in place, allocated once."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.kernels.libllama import llama

_c: Any = ctypes
"""ctypes without its hints, which know no pointer to a type that is a value."""


class Batch:
    """Up to `capacity` tokens of any sequences for one decode call."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.outputs = 0
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self._sequences = np.zeros(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        self._counts = np.ones(capacity, np.int32)
        step = self._sequences.itemsize
        first = self._sequences.ctypes.data
        self._pointers = np.arange(first, first + capacity * step, step, dtype=np.uintp)
        self.struct = llama.llama_batch(
            n_tokens=0,
            token=_pointer(self.tokens, llama.llama_token),
            embd=None,
            pos=_pointer(self.positions, llama.llama_pos),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    def clear(self) -> None:
        """Empty."""
        self.size = 0
        self.outputs = 0

    def add(self, sequence: int, position: int, tokens: Sequence[int], outputs: int) -> None:
        """Append consecutive tokens of one sequence; `outputs` of the last ones give logits.

        Raises `ValueError` when they do not fit: libllama would abort.
        """
        start, end = self.size, self.size + len(tokens)
        if end > self.capacity:
            raise ValueError(f"a batch holds {self.capacity} tokens, not {end}")
        if end == start + 1:
            self.tokens[start] = tokens[0]
            self.positions[start] = position
            self._wanted[start] = outputs
        else:
            self.tokens[start:end] = tokens
            self.positions[start:end] = np.arange(position, position + end - start)
            self._wanted[start:end] = 0
            self._wanted[end - outputs : end] = 1
        self._sequences[start:end] = sequence
        self.outputs += outputs
        self.size = end
        self.struct.n_tokens = end

    def want_all(self) -> None:
        """Ask for an output of every token: for pooled embeddings."""
        self._wanted[: self.size] = 1
        self.outputs = self.size


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, _c.POINTER(kind))
