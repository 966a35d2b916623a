"""Placeholders and what they stand for, stable within a conversation."""

import re
from collections.abc import Iterable

import msgspec

_UNSAFE = re.compile(r"[^A-Z0-9_]")


class Entry(msgspec.Struct, frozen=True):
    """One placeholder."""

    name: str
    """Without brackets: `EMAIL_1`."""
    value: str
    label: str
    restore: bool = True

    @property
    def placeholder(self) -> str:
        """As it stands in the text."""
        return f"[{self.name}]"


class Vault(msgspec.Struct, frozen=True):
    """A value: the caller keeps it with the conversation, in memory, and hands it in again.

    The same text gets the same placeholder; another spelling of the same number gets another one,
    so that what comes back is letter by letter what went in.
    """

    entries: tuple[Entry, ...] = ()

    def __repr__(self) -> str:  # a log must not tell what is hidden
        return f"Vault({len(self.entries)} entries)"


class Names:
    """Hands out placeholders for one request, from a vault."""

    def __init__(self, vault: Vault, texts: Iterable[str]) -> None:
        """`texts` are those of the request: a placeholder that a person wrote is not handed out."""
        self._entries = list(vault.entries)
        self._by_value = {(one.label, one.value): one for one in self._entries}
        self._texts = tuple(texts)
        self._taken: dict[str, set[int]] = {}

    def of(self, label: str, value: str, *, restore: bool) -> Entry:
        """The placeholder for a text, an old or a new one."""
        if (known := self._by_value.get((label, value))) is not None:
            return known
        stem = _UNSAFE.sub("_", label.upper())
        taken = self._numbers(stem)
        number = 1
        while number in taken:
            number += 1
        taken.add(number)
        entry = Entry(f"{stem}_{number}", value, label, restore)
        self._entries.append(entry)
        self._by_value[label, value] = entry
        return entry

    def _numbers(self, stem: str) -> set[int]:
        """Numbers that a placeholder of this stem has, or that somebody wrote as if it had."""
        if stem not in self._taken:
            loose = r"\\?[_ \-]".join(map(re.escape, f"{stem}_".split("_")))
            written = re.compile(rf"{loose}([0-9]{{1,6}})", re.IGNORECASE)
            names = (one.name for one in self._entries)
            # What follows the first digits may be taken out, so each beginning counts.
            self._taken[stem] = {
                int(match[1][:length])
                for text in (*self._texts, *names)
                for match in written.finditer(text)
                for length in range(1, len(match[1]) + 1)
            }
        return self._taken[stem]

    def vault(self) -> Vault:
        """All of them."""
        return Vault(tuple(self._entries))
