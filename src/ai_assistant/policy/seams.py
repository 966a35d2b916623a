"""What was found between the texts of earlier requests: a turn of a conversation repeats them all.

Between two texts nothing changes when more texts come behind them, unless the stretch that is
looked at reaches beyond what there was. So a scan goes on where the last one of the same beginning
ended. Texts are known by their digests.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from ai_assistant.policy.findings import Finding

_REMEMBERED = 8192
_STEPS = 16
"""So many texts a turn may add, and its beginning is still found."""

Piece = tuple[int, Finding]
"""(the position of a text among the others, what of a finding lies in it)"""


class Known(NamedTuple):
    """What is known of the first `texts` texts."""

    texts: int
    pieces: tuple[tuple[int, Piece], ...]
    """Of each finding, behind the seam (as its position in all characters) where it was found."""


NOTHING = Known(0, ())


class Seams:
    """Any thread may call it. The oldest is forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, digests: Sequence[bytes]) -> Known:
        """The longest beginning that was read before, of at most so many texts fewer."""
        joined = b"".join(digests)
        count = len(digests)
        size = len(digests[0]) if digests else 0
        for texts in range(count, max(count - _STEPS, 1), -1):
            key = _key(joined[: texts * size])
            with self._lock:
                if (known := self._known.get(key)) is not None:
                    self._known.move_to_end(key)
                    return known
        return NOTHING

    def keep(self, digests: Sequence[bytes], pieces: tuple[tuple[int, Piece], ...]) -> None:
        """All of these were read."""
        if len(digests) < 2:
            return
        with self._lock:
            self._known[_key(b"".join(digests))] = Known(len(digests), pieces)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def _key(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
