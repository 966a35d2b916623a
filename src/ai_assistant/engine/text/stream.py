"""From token bytes to text that may be shown: whole characters, and no stop strings."""

from codecs import utf_8_decode
from collections.abc import Sequence


class Utf8Stream:
    """Bytes in, whole characters out; what is not UTF-8 becomes U+FFFD.

    The parts joined are the same as the whole decoded at once with `errors="replace"`.
    """

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> str:
        """The characters that are complete now."""
        if not self._pending and data.isascii():
            return data.decode("ascii")
        data = self._pending + data
        text, used = utf_8_decode(data, "replace", False)
        self._pending = data[used:]
        return text

    def flush(self) -> str:
        """What an unfinished character at the end amounts to: U+FFFD or nothing."""
        text, _ = utf_8_decode(self._pending, "replace", True)
        self._pending = b""
        return text


class StopFinder:
    """Ends a text before the first stop string that becomes complete in it.

    Of two that end at the same place the longer one counts. Nothing is held back but what may
    be the beginning of a stop string.
    """

    __slots__ = ("_held", "_longest", "_prefixes", "_stops", "found")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max((len(stop) for stop in self._stops), default=1)
        self._prefixes = {stop[:n] for stop in self._stops for n in range(1, len(stop))}
        self._held = ""
        self.found: str | None = None
        """The stop string that ended the text."""

    def feed(self, text: str) -> tuple[str, bool]:
        """What may be shown now, and whether a stop string ended the text."""
        if not self._stops:
            return text, False
        text = self._held + text
        cut = self._cut(text)
        if cut is not None:
            self._held = ""
            return text[:cut], True
        keep = self._possible_start(text)
        self._held = text[keep:]
        return text[:keep], False

    def flush(self) -> str:
        """What was held back: the text ended without a stop string."""
        held, self._held = self._held, ""
        return held

    def _cut(self, text: str) -> int | None:
        found = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := text.find(stop)) >= 0
        ]
        if not found:
            return None
        _, start, self.found = min(found)
        return start

    def _possible_start(self, text: str) -> int:
        end = len(text)
        for start in range(max(0, end - self._longest + 1), end):
            if text[start:] in self._prefixes:
                return start
        return end
