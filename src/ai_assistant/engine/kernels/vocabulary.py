"""Text to token ids and token ids to bytes. Thread-safe, as libllama's tokenizer is."""

import ctypes
from functools import cached_property
from typing import Any

from ai_assistant.engine.kernels.libllama import llama


class Vocabulary:
    """The tokenizer of one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._vocab = llama.llama_model_get_vocab(model)
        self.size: int = llama.llama_vocab_n_tokens(self._vocab)
        self.bos: int = llama.llama_vocab_bos(self._vocab)
        self.eos: int = llama.llama_vocab_eos(self._vocab)
        self.sep: int = llama.llama_vocab_sep(self._vocab)
        self.adds_bos: bool = llama.llama_vocab_get_add_bos(self._vocab)
        self.adds_eos: bool = llama.llama_vocab_get_add_eos(self._vocab)
        self.adds_sep: bool = llama.llama_vocab_get_add_sep(self._vocab)
        self._pieces: list[bytes | None] = [None] * self.size

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; `add_special` puts the model's own begin token in front."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            ids = (llama.llama_token * room)()
            count = llama.llama_tokenize(
                self._vocab, data, len(data), ids, room, add_special, parse_special
            )
            if count >= 0:
                return ids[:count]
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes of a token, control tokens by their name."""
        known = self._pieces[token]
        if known is None:
            known = self._pieces[token] = self._read_piece(token)
        return known

    def _read_piece(self, token: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, room, 0, True)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def text(self, token: int) -> str:
        """A control token's name; empty for -1 (the model has no such token)."""
        return self.piece(token).decode("utf-8", "replace") if token >= 0 else ""

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return frozenset(
            token for token in range(self.size) if llama.llama_vocab_is_eog(self._vocab, token)
        )

    @cached_property
    def control(self) -> frozenset[int]:
        """Tokens that are signals, not text."""
        return frozenset(
            token for token in range(self.size) if llama.llama_vocab_is_control(self._vocab, token)
        )

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """The token of each piece; of several a word goes before a control token, the last first.

        Made at the first use, which takes as long as reading every piece.
        """
        control = self.control
        found = {self.piece(token): token for token in sorted(control)}
        found |= {self.piece(token): token for token in range(self.size) if token not in control}
        found.pop(b"", None)
        return found

    def all_pieces(self) -> list[bytes]:
        """Every token's bytes, in order of ids."""
        return [self.piece(token) for token in range(self.size)]
