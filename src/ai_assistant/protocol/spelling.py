"""Tokens as the text that they are: how an answer's exact state goes from node to node.

No token ids leave a machine. What leaves is text, which the owner's rules can read, and where it is
cut; a node with the same model file finds the ids again (`docs/decisions/0020`).
"""

import re

import msgspec

_MODEL = re.compile("[0-9a-f]{32}")
_MOST = 1 << 20
"""Tokens of one answer."""
_SEED = 1 << 63


class Spelled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some tokens of an answer, in order."""

    text: str
    """What the model wrote, names of control tokens included."""
    cuts: tuple[int, ...]
    """The length of each token, in bytes of UTF-8."""
    start: int = 0
    """Tokens of the answer before these."""
    model: str = ""
    """The digest of the model's file: with the first ones."""
    seed: int | None = None
    """Of the random numbers, one for each token; with the first ones. None: none are drawn."""


def is_sound(spelled: Spelled) -> bool:
    """Whether the cuts fit the text, and the rest can be what it should be."""
    return (
        0 < len(spelled.cuts) <= _MOST
        and min(spelled.cuts) > 0
        and 0 <= spelled.start <= _MOST
        and (not spelled.model or _MODEL.fullmatch(spelled.model) is not None)
        and (spelled.seed is None or -_SEED < spelled.seed < _SEED)
        and sum(spelled.cuts) == len(spelled.text.encode("utf-8", "surrogatepass"))
    )


def pieces(spelled: Spelled) -> list[bytes]:
    """The bytes of each token; the cuts must fit."""
    raw = spelled.text.encode("utf-8", "surrogatepass")
    found: list[bytes] = []
    place = 0
    for length in spelled.cuts:
        found.append(raw[place : place + length])
        place += length
    return found


class Spelling:
    """An answer's tokens from its beginning, as far as they are known without a gap."""

    def __init__(self, base: Spelled | None = None) -> None:
        """`base`: what was said before."""
        self._texts: list[str] = []
        self._cuts: list[int] = []
        self._model = ""
        self._seed: int | None = None
        self._broken = False
        if base is not None:
            self.add(base)

    def add(self, more: Spelled) -> None:
        """The next tokens. With a gap before them, nothing can be known of the whole any more."""
        if self._broken or more.start != len(self._cuts) or not is_sound(more):
            self._broken = True
            return
        if more.start == 0:
            self._model, self._seed = more.model, more.seed
        self._texts.append(more.text)
        self._cuts += more.cuts

    @property
    def known(self) -> bool:
        """Whether there is something, and no gap in it."""
        return bool(self._cuts and self._model) and not self._broken

    @property
    def count(self) -> int:
        """Tokens."""
        return len(self._cuts)

    def whole(self) -> Spelled | None:
        """All of them, from the first one; None where they are not known."""
        if not self.known:
            return None
        return Spelled(
            text="".join(self._texts),
            cuts=tuple(self._cuts),
            model=self._model,
            seed=self._seed,
        )
