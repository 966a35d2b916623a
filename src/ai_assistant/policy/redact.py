"""Taking protected text out: where it was found, and wherever else it stands."""

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from ai_assistant.policy.findings import Finding
from ai_assistant.policy.scan import Part
from ai_assistant.policy.vault import Entry, Names, Vault

_SHORTEST_ELSEWHERE = 6
"""Shorter texts are taken out where they were found, not wherever they stand."""
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_JSON_NUMBER = re.compile(r"-?\d[\d.eE+\-]*")

Span = tuple[int, int, str]
"""Start, end, label."""


class CannotRedact(Exception):
    """The text would not be JSON any more."""


class Redacted(msgspec.Struct, frozen=True):
    """Texts with placeholders, and what those stand for."""

    texts: tuple[str, ...]
    vault: Vault
    counts: dict[str, int]
    """Placeholders put in, by label."""
    used: tuple[Entry, ...]
    """Those that stand in these texts."""


def redact(
    parts: Sequence[Part],
    findings: Sequence[Sequence[Finding]],
    labels: Collection[str],
    vault: Vault,
    *,
    kept: Mapping[str, bool] | None = None,
) -> Redacted:
    """Take out what has one of `labels`; raises `CannotRedact`.

    `kept` says for a label whether its placeholders are restored in the answer.
    """
    names = Names(vault, (part.text for part in parts))
    spans = [
        _joined(part, [(one.start, one.end, one.label) for one in found if one.label in labels])
        for part, found in zip(parts, findings, strict=True)
    ]
    restore = kept or {}
    known = {_value(part, span): span[2] for part, own in zip(parts, spans, strict=True)
             for span in own}  # fmt: skip
    known |= {one.value: one.label for one in vault.entries if one.label in labels}
    texts: list[str] = []
    counts: dict[str, int] = {}
    used: dict[str, Entry] = {}
    for part, own in zip(parts, spans, strict=True):
        pieces: list[str] = []
        place = 0
        for start, end, label in _joined(part, [*own, *_elsewhere(part, known)]):
            entry = names.of(
                label, _value(part, (start, end, label)), restore=restore.get(label, True)
            )
            quote = '"' if part.json and not _in_string(part.text, start) else ""
            pieces += [part.text[place:start], quote, entry.placeholder, quote]
            counts[label] = counts.get(label, 0) + 1
            used[entry.name] = entry
            place = end
        text = "".join(pieces) + part.text[place:]
        if part.json and pieces and _is_json(part.text) and not _is_json(text):
            raise CannotRedact
        texts.append(text)
    return Redacted(tuple(texts), names.vault(), counts, tuple(used.values()))


def _joined(part: Part, spans: list[Span]) -> list[Span]:
    """Spans in order; those that overlap become one, named by the first."""
    whole = [_whole(part.text, span) for span in spans] if part.json else spans
    joined: list[Span] = []
    for start, end, label in sorted(whole, key=lambda span: (span[0], -span[1])):
        if joined and start < joined[-1][1]:
            first, last, name = joined[-1]
            joined[-1] = (first, max(last, end), name)
        else:
            joined.append((start, end, label))
    return joined


def _whole(text: str, span: Span) -> Span:
    """In JSON: never half an escape, never half a number."""
    start, end, label = span
    for match in _JSON_STRING.finditer(text):
        if match.end() <= start:
            continue
        if match.start() >= end:
            break
        start, end = _around_escapes(text, start, min(end, match.end() - 1))
        return start, end, label
    for match in _JSON_NUMBER.finditer(text):
        if match.start() < end and start < match.end():
            return min(start, match.start()), max(end, match.end()), label
    return span


def _around_escapes(text: str, start: int, end: int) -> tuple[int, int]:
    for match in re.finditer(r"\\(?:u[0-9a-fA-F]{4}|.)", text):
        if match.start() < start < match.end():
            start = match.start()
        if match.start() < end < match.end():
            end = match.end()
    return start, end


def _elsewhere(part: Part, known: Mapping[str, str]) -> list[Span]:
    """Other places of texts that are taken out, where no detector saw them."""
    found: list[Span] = []
    for value, label in known.items():
        if len(value) < _SHORTEST_ELSEWHERE:
            continue
        for written in {_written(value), value} if part.json else (value,):
            place = part.text.find(written)
            while place >= 0:
                found.append((place, place + len(written), label))
                place = part.text.find(written, place + len(written))
    return found


def _value(part: Part, span: Span) -> str:
    """What a span says; in JSON without escapes."""
    raw = part.text[span[0] : span[1]]
    if part.json and "\\" in raw:
        try:
            return msgspec.json.decode(f'"{raw}"'.encode(), type=str)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return raw
    return raw


def _written(value: str) -> str:
    try:
        return msgspec.json.encode(value).decode()[1:-1]
    except UnicodeEncodeError:
        return value


def _in_string(text: str, place: int) -> bool:
    return any(match.start() < place < match.end() for match in _JSON_STRING.finditer(text))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
