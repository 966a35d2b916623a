"""Placeholders and what they stand for, stable within a conversation."""

import re
from collections.abc import Iterable

import msgspec

_LITERAL = re.compile(r"([A-Za-z][A-Za-z0-9_\-]*)_(\d{1,6})")
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
        self._taken = {one.name for one in self._entries}
        for text in texts:
            if "_" in text:
                self._taken |= {f"{m[1].upper()}_{int(m[2])}" for m in _LITERAL.finditer(text)}

    def of(self, label: str, value: str, *, restore: bool) -> Entry:
        """The placeholder for a text, an old or a new one."""
        if (known := self._by_value.get((label, value))) is not None:
            return known
        stem = _UNSAFE.sub("_", label.upper())
        number = 1 + sum(one.label == label for one in self._entries)
        while f"{stem}_{number}" in self._taken:
            number += 1
        entry = Entry(f"{stem}_{number}", value, label, restore)
        self._entries.append(entry)
        self._by_value[label, value] = entry
        self._taken.add(entry.name)
        return entry

    def vault(self) -> Vault:
        """All of them."""
        return Vault(tuple(self._entries))
