"""Every text of a request, in order, and the request with other texts in their places.

The walk goes over all fields of all structs, so that a field which is added later is looked at
without anybody remembering to.
"""

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, cast

import msgspec

from ai_assistant.policy.scan import Part
from ai_assistant.protocol.requests import Origin, Partial, ToolCall

R = TypeVar("R", bound=msgspec.Struct)

_UNREAD = frozenset(
    {"request_id", "model", "role", "kind", "mode", "tenant", "priority", "origin", "cuts"}
)
"""Fields whose values come from lists of known words, or never leave, or only tell where a text is
cut that is read itself."""
_JSON = {(ToolCall, "arguments")}
_LARGE = 10**6

Change = Callable[[Part], str]


class Texts(msgspec.Struct, frozen=True):
    """What can be read of a request; `opaque` if there is more."""

    parts: tuple[Part, ...]
    opaque: bool


def texts_of(request: msgspec.Struct) -> Texts:
    """All texts, in the order in which `with_texts` wants them back."""
    parts: list[Part] = []

    def collect(part: Part) -> str:
        parts.append(part)
        return part.text

    walk = _Walk(collect)
    walk.struct(request, "")
    return Texts(tuple(parts), walk.opaque)


def with_texts(request: R, texts: list[str]) -> R:
    """The request with these texts."""
    rest = iter(texts)
    return cast("R", _Walk(lambda _: next(rest)).struct(request, ""))


def without_owner(request: R) -> R:
    """Whose it is and how it came does not go with it."""
    if not hasattr(request, "tenant"):
        return request
    return msgspec.structs.replace(request, tenant="", origin=Origin())


@functools.cache
def _readable(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in _UNREAD)


class _Walk:
    """Visits every text; `opaque` tells that there was something else."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.opaque = False

    def struct(self, value: msgspec.Struct, voice: str) -> msgspec.Struct:
        """The struct with its texts changed."""
        role: object = getattr(value, "role", None)
        voice = role if isinstance(role, str) else voice
        changed: dict[str, Any] = {}
        for name in _readable(type(value)):
            before: object = getattr(value, name)
            if not before or before is True:
                continue  # most fields of most messages
            after = self._field(value, name, before, voice)
            if after is not before:
                changed[name] = after
        if changed and isinstance(value, Partial):
            changed["spelled"] = None  # the cuts were those of another text
        return msgspec.structs.replace(value, **changed) if changed else value

    def _field(self, owner: msgspec.Struct, name: str, value: object, voice: str) -> object:
        if isinstance(value, str) and (type(owner), name) in _JSON:
            return self._change(Part(value, voice, json=True))
        if name == "tokens" and value:
            if isinstance(owner, Partial):
                return ()  # its text says the same
            self.opaque = True
            return value
        return self._any(value, voice, free=False)

    def _any(self, value: object, voice: str, *, free: bool) -> object:
        """`free` values are the client's own JSON, where numbers may tell something too."""
        if isinstance(value, str):
            return self._change(Part(value, voice)) if value else value
        if isinstance(value, msgspec.Struct):
            return self.struct(value, voice)
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[object, object]", value), voice)
        if isinstance(value, tuple | list):
            listed = cast("list[object] | tuple[object, ...]", value)
            return type(listed)(self._any(one, voice, free=free) for one in listed)
        if isinstance(value, bytes | bytearray):
            self.opaque = True
        if free and isinstance(value, int | float) and not isinstance(value, bool | Enum):
            return self._number(value, voice)
        return value

    def _mapping(self, value: Mapping[object, object], voice: str) -> dict[object, object]:
        return {
            self._any(key, voice, free=False): self._any(item, voice, free=isinstance(key, str))
            for key, item in value.items()
        }

    def _number(self, value: float, voice: str) -> object:
        if abs(value) < _LARGE:
            return value
        written = repr(value)
        after = self._change(Part(written, voice))
        return value if after == written else after
