"""What sticks to a conversation: its labels, over a restart, and its placeholders, in memory.

The oldest is forgotten first, at some hundred thousand protected turns.
"""

import threading
from collections import OrderedDict
from typing import TypeVar

import msgspec

from ai_assistant.policy.conversation import Conversation, conversation_of
from ai_assistant.policy.labels import UNCHECKED, Facts, Labels
from ai_assistant.policy.memory_file import MemoryFile
from ai_assistant.policy.vault import Vault

_MOST_LABELS = 300_000
_MOST_VAULTS = 20_000

Value = TypeVar("Value")


class Memory:
    """One for the node. Any thread may call it."""

    def __init__(self, file: MemoryFile | None = None) -> None:
        """Without `file` it ends with the process."""
        self._file = file or MemoryFile(None)
        self._labels: OrderedDict[bytes, Labels] = OrderedDict(self._file.read(_MOST_LABELS))
        self._vaults: OrderedDict[bytes, Vault] = OrderedDict()
        self._lock = threading.Lock()

    def conversation(self, request: msgspec.Struct, facts: Facts) -> Conversation:
        """Whose turn the request is."""
        return conversation_of(request, facts, self._file.salt)

    def labels(self, talk: Conversation) -> Labels:
        """Everything that the conversation had so far."""
        if self._file.broken and (talk.name or talk.before):
            return Labels(context=frozenset({UNCHECKED}))
        with self._lock:
            if not self._labels:
                return Labels()
            named = self._labels.get(talk.name, Labels())
            asked = [found for key in talk.before if (found := self._labels.get(key))]
        for one in asked:
            # Those texts stand in this request, and are read now.
            named |= msgspec.structs.replace(one, context=one.context - {UNCHECKED})
        return named

    def keep(self, talk: Conversation, labels: Labels) -> None:
        """They stick from now on."""
        if not labels.names:
            return
        with self._lock:
            for key in talk.own:
                known = self._labels.get(key, Labels())
                if known | labels != known:
                    _put(self._labels, key, known | labels, _MOST_LABELS)
                    self._file.add(key, known | labels)

    def vault(self, talk: Conversation) -> Vault:
        """The placeholders of the conversation, the latest turn's first."""
        with self._lock:
            keys = (talk.name, talk.turn, *reversed(talk.before))
            return next((self._vaults[key] for key in keys if key in self._vaults), Vault())

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def keep_vault(self, talk: Conversation, vault: Vault) -> None:
        """They are used again in the next turn."""
        if not vault.entries:
            return
        with self._lock:
            for key in talk.own:
                _put(self._vaults, key, vault, _MOST_VAULTS)


def _put(values: OrderedDict[bytes, Value], key: bytes, value: Value, most: int) -> None:
    values[key] = value
    values.move_to_end(key)
    if len(values) > most:
        values.popitem(last=False)
