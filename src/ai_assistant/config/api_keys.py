"""API keys that the settings name: in the settings themselves, or a line each in a file."""

import os
import stat
from pathlib import Path
from typing import cast

from ai_assistant.config.schema import KEY_FILE, KEYS
from ai_assistant.config.sources import Given
from ai_assistant.gateway.key_names import check_names
from ai_assistant.gateway.keys import read_key
from ai_assistant.protocol.errors import InvalidRequest


def read_keys(path: Path, origin: str, problems: list[str], warnings: list[str]) -> tuple[str, ...]:
    """One key per line with its options; `#` begins a remark."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        problems.append(f"{KEY_FILE}: {path} cannot be read: {reason} ({origin}).")
        return ()
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.append(f"Other users can read the keys in {path}: chmod 600 {path}")
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    keys = {number: line for number, line in numbered if line and not line.startswith("#")}
    if not keys:
        problems.append(f"{KEY_FILE}: {path} holds no key ({origin}).")
    if not all(map(str.isascii, keys.values())):
        problems.append(f"{KEY_FILE}: {path} must hold one key per line ({origin}).")
    for number, line in keys.items():
        if problem := _wrong_key(line):
            problems.append(f"{KEY_FILE}: {path}, line {number}: {problem} ({origin}).")
    return tuple(keys.values())


def wrong_keys(lines: object, source: Given | None) -> list[str]:
    """What is wrong with the keys in the settings themselves."""
    found = [_wrong_key(line) for line in cast("tuple[str, ...]", lines or ())]
    return [f"{KEYS}: {problem} ({source.origin})." for problem in found if problem and source]


def wrong_names(lines: object, origin: str) -> list[str]:
    """What is wrong with all keys together, where nothing is wrong with one of them."""
    try:
        check_names(cast("tuple[str, ...]", lines or ()))
    except InvalidRequest as error:
        return [f"{KEYS}: {error.message.removesuffix('.')} ({origin})."]
    return []


def _wrong_key(line: str) -> str | None:
    """What is wrong with a key's line, in words that do not repeat it."""
    try:
        read_key(line)
    except InvalidRequest as error:
        return error.message.removesuffix(".")
    return None
