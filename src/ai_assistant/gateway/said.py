"""What clients say of a request beside the request itself: labels, regions, the conversation.

In headers of ours, in fields that other APIs have for it, or by the habits of known clients.
"""

import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from ai_assistant.gateway.errors import invalid

Headers = Iterable[tuple[bytes, bytes]]

LABELS, REGIONS, CONVERSATION = b"x-labels", b"x-regions", b"x-conversation-id"
_NAMES = (CONVERSATION, b"x-session-id", b"conversation_id", b"session_id", b"session-id",
          b"x-openwebui-chat-id")  # fmt: skip
_MARKS = (b'"labels"', b'"conversation"', b'"metadata"', b'"prompt_cache_key"')
_LABEL = re.compile(r"[a-z][a-z0-9_\-]{0,39}\Z")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]{0,31}\Z")
_SESSION = re.compile(r"session_(?:id\W+)?([0-9a-fA-F]{8}-[0-9a-fA-F-]{27})")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\Z")
_MOST = 32
_LONGEST_ID = 512


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Of one request."""

    labels: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    conversation: str = ""


NOTHING = Said()


class _Fields(msgspec.Struct):
    labels: Any = None
    conversation: Any = None
    metadata: Any = None
    prompt_cache_key: Any = None


_fields = msgspec.json.Decoder(_Fields)


def in_headers(headers: Headers) -> Said:
    """What the headers say; raises `InvalidRequest`."""
    given = {name: value for name, value in headers if name in _KNOWN}
    if not given:
        return NOTHING
    text = {name: value.decode("latin-1") for name, value in given.items()}
    name = next((text[one] for one in _NAMES if text.get(one)), "")
    return Said(
        labels=_listed("X-Labels", text.get(LABELS), _LABEL),
        regions=_listed("X-Regions", text.get(REGIONS), _REGION),
        conversation=name[:_LONGEST_ID],
    )


def in_body(body: bytes) -> Said:
    """What the body says; one that is no JSON says nothing. Raises `InvalidRequest`.

    `labels` and `conversation`, either of them also in `metadata`, as texts with commas or lists.
    """
    if not any(mark in body for mark in _MARKS):
        return NOTHING
    try:
        found = _fields.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NOTHING  # whoever reads the rest of it says what is wrong
    more = cast("dict[str, Any]", found.metadata) if isinstance(found.metadata, dict) else {}
    labels = (
        *_listed("labels", found.labels, _LABEL),
        *_listed("metadata.labels", more.get("labels"), _LABEL),
    )
    return Said(
        labels=tuple(dict.fromkeys(labels)),
        regions=_listed("metadata.regions", more.get("regions"), _REGION),
        conversation=_name(found, more)[:_LONGEST_ID],
    )


def both(one: Said, other: Said) -> Said:
    """Labels of either, the first one's conversation, and regions that suit both."""
    if other is NOTHING:
        return one
    if one is NOTHING:
        return other
    return Said(
        labels=tuple(dict.fromkeys((*one.labels, *other.labels))),
        regions=narrower(one.regions, other.regions),
        conversation=one.conversation or other.conversation,
    )


def narrower(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The regions of both lists; an empty list is no wish, and two that share none is `none`."""
    if not (one and other):
        return one or other
    known = {region.casefold() for region in other}
    return tuple(region for region in one if region.casefold() in known) or ("none",)


def _name(found: _Fields, more: dict[str, Any]) -> str:
    given = found.conversation
    if isinstance(given, dict):
        given = cast("dict[str, Any]", given).get("id")
    for one in (given, more.get("conversation_id"), more.get("conversation"),
                more.get("session_id"), more.get("chat_id")):  # fmt: skip
        if isinstance(one, str) and one:
            return one
    user = more.get("user_id")  # Claude Code puts its session behind the user
    if isinstance(user, str) and (session := _SESSION.search(user)):
        return session[1]
    key = found.prompt_cache_key  # Codex puts the conversation there
    return key if isinstance(key, str) and _UUID.match(key) else ""


def _listed(param: str, value: object, kind: re.Pattern[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise invalid(param, "expected names, with commas between them")
    names = [one.strip() if isinstance(one, str) else "?" for one in cast("list[object]", parts)]
    names = [one for one in names if one]
    if len(names) > _MOST or not all(kind.match(one) for one in names):
        raise invalid(param, "expected names of letters, digits, _ and -, with commas between them")
    return tuple(dict.fromkeys(names))


_KNOWN = frozenset({LABELS, REGIONS, *_NAMES})
