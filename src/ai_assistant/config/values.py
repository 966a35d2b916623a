"""A raw value made into what the setting needs, or a problem in the owner's words."""

from pathlib import Path
from typing import cast, get_args

import msgspec

from ai_assistant.config.schema import IN_WORDS, KINDS, PATHS, POWER, RANGES, ROUTES, SECRETS
from ai_assistant.config.sources import Given
from ai_assistant.devices.power.modes import read_mode
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.scheduler.routing.routes import Route, read_routes


def value_of(key: str, source: Given, problems: list[str]) -> object:
    """The setting's value; what is wrong with it goes to `problems`."""
    kind = KINDS[key]
    raw = source.value
    if key == ROUTES and not source.textual:
        return _routes(source, problems)
    if source.textual and kind == tuple[str, ...]:
        raw = [part.strip() for part in str(raw).split(",") if part.strip()]
    try:
        value: object = msgspec.convert(raw, type=kind, strict=not source.textual)
    except msgspec.ValidationError:
        choices = ", ".join(map(str, get_args(kind)))
        wanted = IN_WORDS.get(cast("type", kind), f"one of {choices}")
        got = "***" if key in SECRETS else repr(raw)
        problems.append(f"{key} must be {wanted}, not {got} ({source.origin}).")
        return None
    if isinstance(value, int | float) and (problem := _out_of_range(key, value)):
        problems.append(f"{problem} ({source.origin}).")
    return _rooted(value, source.folder) if key in PATHS else value


def _routes(source: Given, problems: list[str]) -> dict[str, Route] | None:
    try:
        return read_routes(source.value)
    except InvalidRequest as error:
        problems.append(f"{error.message} ({source.origin}).")
        return None


def _out_of_range(key: str, value: float) -> str | None:
    low, high = RANGES.get(key, (0, float("inf")))
    if low <= value <= high:
        return None
    limits = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
    return f"{key} must be {limits}, not {value}"


def _rooted(value: object, folder: Path) -> object:
    """Paths made absolute: the engine's process may stand elsewhere."""
    if isinstance(value, tuple):
        return tuple(_rooted(part, folder) for part in cast("tuple[object, ...]", value))
    text = str(value)
    return str(folder / Path(text).expanduser()) if text and "://" not in text else text


def wrong_mode(mode: object, source: Given | None) -> list[str]:
    """What is wrong with the power mode."""
    try:
        read_mode("max" if mode is None else str(mode))
    except InvalidRequest as error:
        return [f"{POWER}: {error.message} ({source.origin if source else ''})"]
    return []
