"""An answer's tokens as text with cuts, for another node that may go on with it; and back."""

import threading
from array import array
from collections.abc import Callable

from ai_assistant.engine.kernels import Vocabulary
from ai_assistant.protocol.errors import CannotContinue
from ai_assistant.protocol.spelling import Spelled, is_sound, pieces


class Names:
    """The token of each piece, read beside the work: of a large vocabulary that takes 0.4 s."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._reading: threading.Thread | None = None
        self.piece = vocabulary.piece
        self.ids: dict[bytes, int] | None = None
        """None: not read yet."""

    def begin(self) -> None:
        """Read them, unless that has begun; returns at once."""
        if self._reading is None:
            self._reading = threading.Thread(target=self._read, name="names", daemon=True)
            self._reading.start()

    def read(self) -> dict[bytes, int]:
        """All of them, now."""
        self.begin()
        if self._reading:
            self._reading.join()
        assert self.ids is not None
        return self.ids

    def _read(self) -> None:
        self.ids = self._vocabulary.ids


class Speller:
    """One sequence's. What cannot be told exactly is not told at all from then on."""

    def __init__(self, names: "Names", model: str, seed: int | None) -> None:
        """`model`: the digest of its file; `seed`: of the sequence's random numbers."""
        self._names = names
        self._model = model
        self._seed = seed
        self._raw = bytearray()
        self._tokens: list[int] = []
        self._cuts: list[int] = []
        self._start = 0
        self._lost = False

    def push(self, token: int) -> None:
        """The answer's next token."""
        piece = self._names.piece(token)
        self._raw += piece
        self._tokens.append(token)
        self._cuts.append(len(piece))

    def take(self) -> Spelled | None:
        """The tokens since the last time; None while their last character is not whole."""
        if self._lost or not self._cuts or (ids := self._names.ids) is None:
            return None
        try:
            text = self._raw.decode()
        except UnicodeDecodeError as error:
            self._lost = error.reason != "unexpected end of data"
            return None
        if any(ids.get(piece) != token for piece, token in self._pairs()):
            self._lost = True  # another token has the same bytes, or it has none
            return None
        first = self._start == 0
        told = Spelled(
            text=text,
            cuts=tuple(self._cuts),
            start=self._start,
            model=self._model if first else "",
            seed=self._seed if first else None,
        )
        self.skip()
        return told

    def skip(self) -> None:
        """What is there was told before."""
        self._start += len(self._cuts)
        self._tokens.clear()
        self._cuts.clear()
        self._raw.clear()

    def _pairs(self) -> list[tuple[bytes, int]]:
        return [(self._names.piece(token), token) for token in self._tokens]


def tokens_of(spelled: Spelled, names: Names, model: Callable[[], str]) -> "array[int]":
    """The tokens that another node spelled; raises `CannotContinue` where this model has not these.

    It may be anybody's words: nothing follows from them but the tokens of a text.
    """
    if not is_sound(spelled) or spelled.start:
        raise CannotContinue("The tokens so far do not fit their text.")
    if not spelled.model or spelled.model != model():
        raise CannotContinue("The answer was begun by another model file.")
    ids = names.read()
    found = [ids.get(piece, -1) for piece in pieces(spelled)]
    if -1 in found:
        raise CannotContinue("The model has no such token.")
    return array("i", found)
