"""The one door to llguidance: which tokens a grammar allows next.

An invalid grammar is the request's fault; messages of the library are put in plain words here.
"""

import re
from collections.abc import Callable, Collection, Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from ai_assistant.engine.text.grammar import Grammar
from ai_assistant.protocol.errors import InvalidRequest

_SPECIAL = b"\xff"
_PLACE = re.compile(r"^(at )?\d+\(\d+\): ")
_FEW = 16


class Vocabulary:
    """A model's tokens, prepared for grammars. Takes about half a second; make it once.

    `tokens` are the bytes of each token, those of a control token its name; `special` the ids
    of the control tokens, `ends` those of the tokens that end an answer.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        special: Collection[int],
        ends: Sequence[int],
        encode: Callable[[bytes], Sequence[int]],
    ) -> None:
        controls = frozenset(special) | frozenset(ends)
        self.size = len(tokens)
        self.specials = {tokens[id].decode("utf-8", "replace"): id for id in controls if tokens[id]}
        source = _TokenSource(tokens, controls, ends, encode)
        self.tokenizer = LLTokenizer(TokenizerWrapper(source), eos_token=list(ends))


class _TokenSource:
    """A vocabulary as llguidance's wrapper wants it."""

    bos_token_id = None

    def __init__(
        self,
        tokens: Sequence[bytes],
        controls: Collection[int],
        ends: Sequence[int],
        encode: Callable[[bytes], Sequence[int]],
    ) -> None:
        self.eos_token_id = ends[0]
        self.special_token_ids = sorted(controls)
        self.tokens = [
            _SPECIAL + token if id in controls else token for id, token in enumerate(tokens)
        ]
        self._encode = encode

    def __call__(self, text: bytes) -> list[int]:
        return list(self._encode(text))


class TokenMask:
    """The state of one answer in its grammar.

    Raises `InvalidRequest` where the grammar is not valid, or grows too complex on the way.
    """

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        self._param = grammar.param
        self._size = vocabulary.size
        self._bits = np.zeros((vocabulary.size + 31) // 32, dtype=np.int32)
        self._matcher = LLMatcher(vocabulary.tokenizer, grammar.text, log_level=0)
        self._check(f"The output cannot be held to {grammar.origin}")

    def copy(self) -> "TokenMask":
        """Another answer in the same state."""
        twin = object.__new__(TokenMask)
        twin._param, twin._size = self._param, self._size
        twin._bits = np.zeros_like(self._bits)
        twin._matcher = self._matcher.deep_copy()
        return twin

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all tokens that may not come next to minus infinity, in place."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._check("The grammar became too complex")
        allowed = np.unpackbits(self._bits.view(np.uint8), count=self._size, bitorder="little")
        allowed = allowed.view(np.bool_)
        if len(logits) > self._size:
            logits[self._size :] = -np.inf
            logits = logits[: self._size]
        if int(np.bitwise_count(self._bits).sum()) * _FEW < self._size:
            ids = np.flatnonzero(allowed)
            values = logits[ids]
            logits.fill(-np.inf)
            logits[ids] = values
        else:
            np.copyto(logits, -np.inf, where=~allowed)

    def forced(self) -> list[int]:
        """The tokens that spell what must come next, as the vocabulary would; often none."""
        return self._matcher.compute_ff_tokens()

    def accept(self, token: int) -> None:
        """The token that was drawn."""
        if not self._matcher.consume_token(token):
            self._check("The output left the grammar")

    @property
    def finished(self) -> bool:
        """Nothing may follow but the end."""
        return self._matcher.is_stopped()

    def _check(self, problem: str) -> None:
        if self._matcher.is_error():
            message = plain_words(self._matcher.get_error())
            raise InvalidRequest(f"{problem}: {message}", param=self._param)


def plain_words(error: str) -> str:
    """The library's message, without what shows the place in a text that nobody wrote."""
    lines = error.strip().splitlines() or ["unknown error"]
    kept = [line for line in lines if not re.match(r"\s+(\d+ \||\^)", line)]
    text = " ".join(line.strip() for line in kept if line.strip())
    return _PLACE.sub("", text).replace("failed to compile JSON schema: ", "")
