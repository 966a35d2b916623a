"""The kernels without the engine: a model as plain functions over token ids, for measuring."""

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ai_assistant.engine.kernels.libllama import llama as lib

Floats = npt.NDArray[np.float32]


@lib.llama_log_callback
def _silent(level: int, text: bytes, user_data: object) -> None:
    pass


class Model:
    """One model and one context; one sequence at a time."""

    def __init__(self, path: Path, *, context: int, threads: int, embedding: bool = False) -> None:
        lib.llama_log_set(_silent, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.handle = lib.llama_model_load_from_file(
            str(path).encode(), lib.llama_model_default_params()
        )
        if not self.handle:
            raise RuntimeError(f"libllama does not load {path}")
        self._ctx = lib.llama_init_from_model(
            self.handle, _context_params(context, threads, embedding=embedding)
        )
        if not self._ctx:
            raise RuntimeError(f"libllama makes no context for {path}")
        self._vocab = lib.llama_model_get_vocab(self.handle)
        self._memory = lib.llama_get_memory(self._ctx)
        self._batch = lib.llama_batch_init(context, 0, 1)
        self.context = context
        self.vocabulary = int(lib.llama_vocab_n_tokens(self._vocab))
        self.width = int(lib.llama_model_n_embd_out(self.handle))

    def close(self) -> None:
        """Give the memory back."""
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._ctx)
        lib.llama_model_free(self.handle)

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids, without a begin token; `special` reads `<|…|>` as control tokens."""
        raw = text.encode()
        out = (lib.llama_token * (len(raw) + 8))()
        count = lib.llama_tokenize(self._vocab, raw, len(raw), out, len(out), False, special)
        return list(out[:count])

    def text(self, token: int) -> str:
        """The piece of text that a token stands for."""
        out = ctypes.create_string_buffer(256)
        count = lib.llama_token_to_piece(self._vocab, token, out, len(out), 0, True)
        return out.raw[: max(count, 0)].decode(errors="replace")

    def logits(self, tokens: Sequence[int]) -> Floats:
        """The logits after each of `tokens`, from an empty memory."""
        self._forget()
        self._decode(tokens, 0, outputs=range(len(tokens)))
        rows = lib.llama_get_logits(self._ctx)
        return np.ctypeslib.as_array(rows, (len(tokens), self.vocabulary)).copy()

    def greedy(self, tokens: Sequence[int], count: int) -> list[int]:
        """The `count` likeliest next tokens, one after the other, end token or not."""
        self._forget()
        self._decode(tokens, 0, outputs=[len(tokens) - 1])
        out = [self._likeliest()]
        while len(out) < count:
            self._decode(out[-1:], len(tokens) + len(out) - 1, outputs=[0])
            out.append(self._likeliest())
        return out

    def embed(self, tokens: Sequence[int]) -> Floats:
        """One vector for `tokens`, pooled as the model's file says."""
        self._forget()
        self._decode(tokens, 0, outputs=range(len(tokens)))
        vector = lib.llama_get_embeddings_seq(self._ctx, 0)
        return np.ctypeslib.as_array(vector, (self.width,)).copy()

    def decode_speed(self, tokens: Sequence[int], count: int) -> float:
        """Tokens per second of greedy decode after `tokens`."""
        self.greedy(tokens, 1)
        start = time.perf_counter()
        for step in range(count):
            self._decode([tokens[step % len(tokens)]], len(tokens) + step, outputs=[0])
        return count / (time.perf_counter() - start)

    def _forget(self) -> None:
        if self._memory:
            lib.llama_memory_clear(self._memory, True)

    def _likeliest(self) -> int:
        row = lib.llama_get_logits_ith(self._ctx, -1)
        return int(np.ctypeslib.as_array(row, (self.vocabulary,)).argmax())

    def _decode(self, tokens: Sequence[int], start: int, *, outputs: Sequence[int]) -> None:
        batch, wanted = self._batch, set(outputs)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i in wanted
        if (code := lib.llama_decode(self._ctx, batch)) != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        lib.llama_synchronize(self._ctx)


def _context_params(context: int, threads: int, *, embedding: bool) -> lib.llama_context_params:
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = params.n_outputs_max = context
    params.n_threads = params.n_threads_batch = threads
    params.embeddings = embedding
    return params


@contextmanager
def opened(
    path: Path, *, context: int = 2048, threads: int = 1, embedding: bool = False
) -> Iterator[Model]:
    """A `Model` that is closed at the end."""
    model = Model(path, context=context, threads=threads, embedding=embedding)
    try:
        yield model
    finally:
        model.close()


def quantise(source: Path, target: Path, ftype: int, *, threads: int = 2) -> None:
    """Write `source` in another type, such as `lib.LLAMA_FTYPE_MOSTLY_Q8_0`."""
    lib.llama_log_set(_silent, ctypes.c_void_p(0))
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread = ftype, threads
    code = lib.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if code != 0:
        raise RuntimeError(f"llama_model_quantize returned {code} for {source}")
