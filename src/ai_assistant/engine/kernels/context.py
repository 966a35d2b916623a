"""Decode, and move KV cells between sequences. One thread per context."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.kernels.batch import Batch
from ai_assistant.engine.kernels.libllama import complaints, llama
from ai_assistant.engine.kernels.model import LoadError, Model

MAX_SEQUENCES = 256
"""LLAMA_MAX_SEQ"""

KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
"""ggml_type of each name."""


class NoRoom(Exception):
    """The KV cache has no place for the batch; nothing was changed."""


class DecodeError(Exception):
    """libllama failed; the cells of the batch are undefined."""


class Context:
    """A KV cache of `cells` tokens that `sequences` sequence ids share (`kv_unified`)."""

    def __init__(
        self,
        model: Model,
        *,
        cells: int,
        sequences: int,
        chunk: int,
        outputs: int,
        threads: int,
        threads_batch: int,
        kv_type: str = "f16",
        embedding: bool = False,
        kv_on_gpu: bool = True,
        op_offload: bool = True,
    ) -> None:
        """`chunk` tokens and `outputs` rows of logits at most per call. Raises `LoadError`."""
        self.model = model
        # One id more where ranges can be saved: a blob is always that of a whole sequence.
        ranges = model.shares_prefixes and not embedding
        self._scratch = min(sequences, MAX_SEQUENCES - 1) if ranges else -1
        self.sequences = self._scratch if ranges else min(sequences, MAX_SEQUENCES)
        self.batch = Batch(chunk)
        params = llama.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = chunk
        params.n_seq_max = ids = self.sequences + (self._scratch >= 0)
        # libllama asserts n_outputs_max >= n_seq_max; it keeps a row of logits for each.
        params.n_outputs_max = chunk if embedding else max(min(outputs, chunk), ids)
        params.n_threads, params.n_threads_batch = threads, threads_batch
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.kv_unified = True
        params.offload_kqv, params.op_offload = kv_on_gpu, op_offload
        params.embeddings = embedding
        if model.watch:
            params.cb_eval = model.watch.callback
        complaints.clear()
        self.handle: Any = llama.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise LoadError("; ".join(complaints) or "no memory for the context")
        self.memory = llama.llama_get_memory(self.handle)
        self.cells: int = llama.llama_n_ctx(self.handle)
        self.layers: int = llama.llama_model_n_layer(model.handle)
        self._vocabulary = model.vocabulary.size
        self._row = (0, np.empty(0, np.float32))

    def close(self) -> None:
        """Free the memory."""
        if self.handle:
            llama.llama_free(self.handle)
            self.handle = None

    def decode(self, batch: Batch) -> None:
        """Compute the batch. Raises `NoRoom` (nothing changed) or `DecodeError`."""
        if self.model.watch:
            self.model.watch.begin()
        code = llama.llama_decode(self.handle, batch.struct)
        if code == 1:
            raise NoRoom
        if code:
            raise DecodeError(f"llama_decode returned {code}: {'; '.join(complaints)}")

    def encode(self, batch: Batch) -> None:
        """Compute without a KV cache, for models that read the whole text at once."""
        code = llama.llama_encode(self.handle, batch.struct)
        if code:
            raise DecodeError(f"llama_encode returned {code}: {'; '.join(complaints)}")

    def logits(self, rows: int) -> np.ndarray:
        """Shape (rows, vocabulary), float32, in the batch's order; overwritten by the next call."""
        pointer = llama.llama_get_logits(self.handle)
        address = ctypes.addressof(pointer.contents)
        if self._row[0] != address or len(self._row[1]) < rows:
            shape = (rows, self._vocabulary)
            self._row = (address, np.ctypeslib.as_array(pointer, shape))
        return self._row[1][:rows]

    def pooled(self, sequence: int) -> np.ndarray:
        """The embedding of one sequence, float32; raises `DecodeError` if there is none."""
        pointer = llama.llama_get_embeddings_seq(self.handle, sequence)
        if not pointer:
            raise DecodeError("the model gave no embedding")
        length = self.model.scores if self.ranks else self.model.dimensions
        return np.ctypeslib.as_array(pointer, (length,)).copy()

    @property
    def pools(self) -> bool:
        """Whether the model says how token vectors become one."""
        return llama.llama_pooling_type(self.handle) > 0

    @property
    def ranks(self) -> bool:
        """Whether the model gives scores of a pair of texts instead of an embedding."""
        return llama.llama_pooling_type(self.handle) == llama.LLAMA_POOLING_TYPE_RANK

    def set_threads(self, threads: int, threads_batch: int) -> None:
        """From the next call on."""
        llama.llama_set_n_threads(self.handle, threads, threads_batch)

    def share(self, source: int, target: int, length: int) -> None:
        """Let `target` use the first `length` cells of `source`; no bytes move."""
        llama.llama_memory_seq_cp(self.memory, source, target, 0, length)

    def share_all(self, source: int, target: int) -> None:
        """The same with the whole state: the only way for recurrent models."""
        llama.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def drop(self, sequence: int) -> None:
        """Forget a sequence."""
        llama.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def trim(self, sequence: int, length: int) -> bool:
        """Forget all from position `length` on; False where the model cannot."""
        return bool(llama.llama_memory_seq_rm(self.memory, sequence, length, -1))

    def length(self, sequence: int) -> int:
        """Positions that a sequence holds, counted from 0."""
        return llama.llama_memory_seq_pos_max(self.memory, sequence) + 1

    def clear(self) -> None:
        """Forget all."""
        llama.llama_memory_clear(self.memory, True)

    def state_bytes(self, sequence: int) -> int:
        """What `save` would take."""
        return llama.llama_state_seq_get_size(self.handle, sequence)

    def save(self, sequence: int) -> NDArray[np.uint8]:
        """A sequence's state, for `restore` into a context of the same model and KV type."""
        state = np.empty(self.state_bytes(sequence), np.uint8)
        written = llama.llama_state_seq_get_data(self.handle, _bytes(state), state.nbytes, sequence)
        return state[:written]

    def restore(self, sequence: int, state: NDArray[np.uint8]) -> bool:
        """Put a saved state back; False when there is no room or it does not fit."""
        read = llama.llama_state_seq_set_data(self.handle, _bytes(state), state.nbytes, sequence)
        return read > 0

    def save_range(self, sequence: int, start: int, end: int) -> NDArray[np.uint8]:
        """The state of the positions from `start` to before `end`, for `restore_range`.

        Only where prefixes can be shared: the cells are lent to a scratch sequence.
        """
        llama.llama_memory_seq_cp(self.memory, sequence, self._scratch, start, end)
        state = self.save(self._scratch)
        self.drop(self._scratch)
        return state

    def restore_range(self, sequence: int, state: NDArray[np.uint8]) -> bool:
        """Append saved positions to a sequence; False when there is no room or they do not fit."""
        read = self.restore(self._scratch, state)
        if read:
            self.share_all(self._scratch, sequence)
        self.drop(self._scratch)
        return read


def _bytes(state: NDArray[np.uint8]) -> Any:
    return ctypes.cast(state.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
