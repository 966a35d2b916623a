"""The settings of a run, each with its origin."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from ai_assistant.config.api_keys import read_keys, wrong_keys, wrong_names
from ai_assistant.config.schema import FIELDS, KEY_FILE, KEYS, POWER, SECRETS, SECTIONS
from ai_assistant.config.settings import Settings
from ai_assistant.config.sources import (
    Layer,
    from_environment,
    from_file,
    from_flags,
    overlay,
    variables,
    which_file,
)
from ai_assistant.config.values import value_of, wrong_mode


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, where each came from, and what the owner should hear about them."""

    settings: Settings
    origins: dict[str, str]
    """`default`, `file PATH`, `environment NAME` or `flag --NAME`, for every dotted key."""
    file: Path
    """Where the file is, or would be."""
    warnings: tuple[str, ...] = ()


class ConfigError(Exception):
    """Settings that cannot be used; each problem names the key and where it came from."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Loaded:
    """The settings of this run; raises `ConfigError`.

    `flags` holds dotted keys (`server.port`); a value of None was not given.
    """
    environ = variables() if environ is None else environ
    problems: list[str] = []
    warnings: list[str] = []
    file, demanded = which_file(environ, config_file)
    given: Layer = {}
    for layer in (
        from_file(file, demanded, problems),
        from_environment(environ, warnings),
        from_flags(flags or {}),
    ):
        overlay(given, layer)
    values = {key: value_of(key, source, problems) for key, source in given.items()}
    origins = {key: given[key].origin if key in given else "default" for key in FIELDS}
    problems += wrong_keys(values.get(KEYS), given.get(KEYS))
    problems += wrong_mode(values.get(POWER), given.get(POWER))
    if path := values.pop(KEY_FILE, None):
        origin = given[KEY_FILE].origin
        found = read_keys(Path(str(path)), origin, problems, warnings)
        values[KEYS] = (*cast("tuple[str, ...]", values.get(KEYS) or ()), *found)
        origins[KEYS] = origin
    problems += [] if problems else wrong_names(values.get(KEYS), origins[KEYS])
    if problems:
        raise ConfigError(problems)
    return Loaded(settings=_assemble(values), origins=origins, file=file, warnings=tuple(warnings))


def shown(loaded: Loaded) -> list[tuple[str, object, str]]:
    """Each key with its value and origin, secrets hidden."""
    rows: list[tuple[str, object, str]] = []
    for key in FIELDS:
        section, name = key.split(".")
        value = getattr(getattr(loaded.settings, section), name)
        if key in SECRETS and value:
            value = "***" if isinstance(value, str) else tuple("***" for _ in value)
        if isinstance(value, dict):
            value = msgspec.to_builtins(value)
        rows.append((key, value, loaded.origins[key]))
    return rows


def _assemble(values: dict[str, object]) -> Settings:
    sections: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for key, value in values.items():
        section, name = key.split(".")
        sections[section][name] = value
    return msgspec.convert(sections, Settings)
