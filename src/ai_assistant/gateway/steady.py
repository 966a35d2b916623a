"""Keeps what changes from request to request out of the beginning of a prompt.

The KV cache serves a prompt as far as it begins like an earlier one. Some clients put a line in
front of the system prompt that is never the same twice, and with it nothing after it could be
used again. Of the lines before the first other text of the system prompt

- header lines (`x-anthropic-billing-header: …`) are dropped: they are for a server, not a model;
- lines that tell the date go to the end of the system prompt: they change once a day;
- lines that tell the time of day go before the last user's turn, which is new anyway.

Everything else stays as it is, also dates and times further down.
"""

import re
from collections.abc import Sequence

import msgspec

from ai_assistant.protocol.requests import ChatMessage

_HEADER = re.compile(r"x-[a-z0-9]+(-[a-z0-9]+)+:", re.IGNORECASE)
_MOMENT = re.compile(
    r"[\W_]*(the )?((current|local|utc|today's) )*(datetime|date|timestamp|time|day|today|now)"
    r"(( and |/| & )(date|time))?\W*(is\b|[:=\]])",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d|\d{4}年\d{1,2}月",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\b\d{1,2}:\d{2}|\b\d{10,13}\b")
_MAX_LINE = 200
"""A longer line says more than what time it is."""


class Lead(msgspec.Struct, frozen=True):
    """A system prompt, and the lines that were taken from its front."""

    rest: str
    dates: tuple[str, ...] = ()
    times: tuple[str, ...] = ()


def split_lead(system: str) -> Lead:
    """The prompt without its volatile first lines; a prompt without any is unchanged."""
    dates: list[str] = []
    times: list[str] = []
    rest = system
    while True:
        line, end, after = rest.lstrip().partition("\n")
        kind = _kind(line.strip())
        if kind is None:
            break
        if kind == "date":
            dates.append(line.strip())
        elif kind == "time":
            times.append(line.strip())
        rest = after
        if not end:
            break
    if rest == system:
        return Lead(system)
    return Lead(rest.lstrip("\r\n"), tuple(dates), tuple(times))


def steady(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The conversation with what is volatile where it harms least."""
    if not messages or messages[0].role != "system" or not messages[0].content:
        return tuple(messages)
    lead = split_lead(messages[0].content)
    if lead.rest == messages[0].content:
        return tuple(messages)
    result = list(messages)
    user = _last_user(result) if lead.times else None
    late = lead.times if user is not None else ()
    kept = lead.dates if user is not None else (*lead.dates, *lead.times)
    system = "\n\n".join(filter(None, (lead.rest, "\n".join(kept))))
    result[0] = msgspec.structs.replace(result[0], content=system)
    if user is not None and late:
        content = "\n\n".join(("\n".join(late), result[user].content or ""))
        result[user] = msgspec.structs.replace(result[user], content=content)
    return tuple(result) if system else tuple(result[1:])


def _last_user(messages: Sequence[ChatMessage]) -> int | None:
    found = (i for i in reversed(range(len(messages))) if messages[i].role == "user")
    return next(found, None)


def _kind(line: str) -> str | None:
    """`header`, `date` or `time`; None for a line that stays."""
    if _HEADER.match(line):
        return "header"
    if len(line) > _MAX_LINE or not _MOMENT.match(line):
        return None
    if _CLOCK.search(line):
        return "time"
    return "date" if _DATE.search(line) else None
