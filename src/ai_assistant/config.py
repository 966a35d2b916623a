"""Settings of this machine: file, environment and flags, read once.

A flag goes before the environment, the environment before the file, the file before the default.
"""

import difflib
import ipaddress
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import msgspec
import platformdirs
from msgspec import structs

from ai_assistant.devices.power.modes import read_mode
from ai_assistant.devices.power.settings import PowerSettings
from ai_assistant.devices.settings import CacheSettings, EngineSettings
from ai_assistant.gateway.keys import read_key
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.scheduler.routing.routes import Points, Route, RoutingSettings, read_routes
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.store.settings import StoreSettings

APPLICATION = "ai-assistant"
SECRETS = frozenset({"server.api_keys", "jobs.database"})
KEY_FILE = "server.api_key_file"
KEYS = "server.api_keys"
POWER = "power.mode"
ROUTES = "routing.routes"
"""In the file these are sections of their own, `[routes.NAME]`."""
FLAGS = {
    "server.host": "--host",
    "server.port": "--port",
    KEY_FILE: "--api-key-file",
    "store.models": "--model",
    "store.data_dir": "--data-dir",
    "engine.context": "--context",
    "engine.slots": "--slots",
    "engine.threads": "--threads",
    "engine.gpu_layers": "--gpu-layers",
}
_PATHS = frozenset({"store.models", "store.data_dir", "cache.dir", "jobs.dir", KEY_FILE})
_RANGES: dict[str, tuple[float, float]] = {
    "server.port": (0, 65535),
    "server.max_requests": (1, float("inf")),
    "server.max_connections": (1, float("inf")),
    "engine.context": (0, 1 << 26),
    "engine.cells": (0, 1 << 26),
    "engine.slots": (0, 240),
    "engine.chunk": (0, 8192),
    "engine.threads": (0, 512),
    "engine.gpu_layers": (-1, float("inf")),
    "engine.batch_floor": (0, 1),
    "engine.tpot_factor": (1.05, 100),
    "engine.least_tokens_per_second": (0, float("inf")),
    "scheduler.abandon_load_seconds": (0, float("inf")),
    "cache.disk_gb": (0, float("inf")),
    "cache.daily_write_gb": (0, float("inf")),
    "cache.memory_gb": (0, float("inf")),
    "power.ceiling": (0, 120),
    "scheduler.memory_fraction": (0.01, 1),
    "scheduler.max_loaded": (1, float("inf")),
    "jobs.concurrency": (0, 4096),
    "jobs.max_file_mb": (1, 1 << 20),
    "jobs.disk_gb": (0, float("inf")),
    "jobs.keep_days": (0, float("inf")),
}
_IN_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
    dict[str, Points]: "a table of names and points from 0 to 100",
    dict[str, Route]: "sections of the settings file, such as [routes.fast]",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the owner may set, by room."""

    server: GatewaySettings = GatewaySettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    routing: RoutingSettings = RoutingSettings()
    engine: EngineSettings = EngineSettings()
    cache: CacheSettings = CacheSettings()
    store: StoreSettings = StoreSettings()
    jobs: JobsSettings = JobsSettings()
    power: PowerSettings = PowerSettings()


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


class _Given(msgspec.Struct, frozen=True):
    """A raw value, who gave it, and the folder that its relative paths start from."""

    value: object
    origin: str
    folder: Path
    textual: bool = False
    """Numbers and lists arrive as text."""


_Layer = dict[str, _Given]


def _fields() -> dict[str, structs.FieldInfo]:
    found: dict[str, structs.FieldInfo] = {}
    for section in structs.fields(Settings):
        for field in structs.fields(section.type):
            found[f"{section.name}.{field.name}"] = field
    return found


_FIELDS = _fields()
_KINDS: Mapping[str, object] = {key: field.type for key, field in _FIELDS.items()} | {KEY_FILE: str}
_SECTIONS = tuple(field.name for field in structs.fields(Settings))


def default_file() -> Path:
    """Where the settings file is looked for when nobody says otherwise."""
    return Path(platformdirs.user_config_dir(APPLICATION, appauthor=False)) / "config.toml"


def default_key_file() -> Path:
    """Where `config new-key` writes."""
    return default_file().with_name("api-keys")


def data_dir(settings: Settings) -> Path:
    """Where conversations and history are kept."""
    chosen = settings.store.data_dir
    return Path(chosen or platformdirs.user_data_dir(APPLICATION, appauthor=False))


def cache_dir(settings: Settings) -> Path:
    """Where the KV cache of ended conversations is kept."""
    return Path(settings.cache.dir) if settings.cache.dir else data_dir(settings) / "cache"


def layouts_dir(settings: Settings) -> Path:
    """Where it is kept how quick models' layers are here."""
    return data_dir(settings) / "layouts"


def disk_folders(settings: Settings) -> tuple[str, ...]:
    """Where models and caches live: the disks whose speed matters. Models first."""
    models = (Path(path) for path in settings.store.models if "://" not in path)
    places = [path if path.is_dir() else path.parent for path in models]
    return tuple(dict.fromkeys(map(str, [*places, cache_dir(settings), data_dir(settings)])))


def policy_file(file: Path) -> Path:
    """Where the rules about what may leave are: beside the settings file."""
    return file.with_name("policy.toml")


def egress_dir(settings: Settings) -> Path:
    """Where the records of what left are: a folder for each program that sends."""
    return data_dir(settings) / "egress"


def keys_file(file: Path) -> Path:
    """Where the keys that `ai-assistant keys` made are, as hashes: beside the settings file."""
    return file.with_name("keys.json")


def key_usage_file(settings: Settings) -> Path:
    """Where it is kept what keys used."""
    return data_dir(settings) / "key-usage.db"


def providers_file(file: Path) -> Path:
    """Where other servers that may answer are named: beside the settings file."""
    return file.with_name("providers.toml")


def providers_seen_file(settings: Settings) -> Path:
    """Where it is kept how those servers did."""
    return data_dir(settings) / "providers-seen.json"


def variables() -> Mapping[str, str]:
    """The environment, for those who are told by the owner which variable holds a key."""
    return os.environ


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def exposed_without_key(settings: Settings, file: Path | None = None) -> bool:
    """Whether other machines could use this node without a key: never allowed.

    `file`: where the settings are; keys may lie beside it.
    """
    if is_loopback(settings.server.host) or settings.server.api_keys:
        return False
    return file is None or not keys_file(file).exists()


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> Loaded:
    """The settings of this run; raises `ConfigError`.

    `flags` holds dotted keys (`server.port`); a value of None was not given.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    warnings: list[str] = []
    file, demanded = _which_file(environ, config_file)
    given: _Layer = {}
    for layer in (
        _from_file(file, demanded, problems),
        _from_environment(environ, warnings),
        _from_flags(flags or {}),
    ):
        _overlay(given, layer)
    values = {key: _value(key, source, problems) for key, source in given.items()}
    origins = {key: given[key].origin if key in given else "default" for key in _FIELDS}
    problems += _wrong_keys(values.get(KEYS), given.get(KEYS))
    problems += _wrong_mode(values.get(POWER), given.get(POWER))
    if path := values.pop(KEY_FILE, None):
        origin = given[KEY_FILE].origin
        found = _read_keys(Path(str(path)), origin, problems, warnings)
        values[KEYS] = (*cast("tuple[str, ...]", values.get(KEYS) or ()), *found)
        origins[KEYS] = origin
    if problems:
        raise ConfigError(problems)
    return Loaded(settings=_assemble(values), origins=origins, file=file, warnings=tuple(warnings))


def shown(loaded: Loaded) -> list[tuple[str, object, str]]:
    """Each key with its value and origin, secrets hidden."""
    rows: list[tuple[str, object, str]] = []
    for key in _FIELDS:
        section, name = key.split(".")
        value = getattr(getattr(loaded.settings, section), name)
        if key in SECRETS and value:
            value = "***" if isinstance(value, str) else tuple("***" for _ in value)
        if isinstance(value, dict):
            value = msgspec.to_builtins(value)
        rows.append((key, value, loaded.origins[key]))
    return rows


def _which_file(environ: Mapping[str, str], chosen: Path | None) -> tuple[Path, bool]:
    """The file and whether someone asked for exactly this one."""
    if chosen is not None:
        return chosen.expanduser(), True
    if named := environ.get("AI_ASSISTANT_CONFIG"):
        return Path(named).expanduser(), True
    return default_file(), False


def _from_file(path: Path, demanded: bool, problems: list[str]) -> _Layer:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if demanded:
            problems.append(f"The settings file {path} does not exist.")
        return {}
    except OSError as error:
        problems.append(f"The settings file {path} cannot be read: {error.strerror}.")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"The settings file {path} is not valid TOML: {error}.")
        return {}
    origin = f"file {path}"
    layer: _Layer = {}
    for section, content in tree.items():
        if section == "routes":
            layer[ROUTES] = _Given(content, origin, path.absolute().parent)
        elif section not in _SECTIONS:
            problems.append(_unknown(section, _SECTIONS, "section", origin))
        elif not isinstance(content, dict):
            problems.append(f"{section} must be a section, [{section}] ({origin}).")
        else:
            for name, value in cast("dict[str, object]", content).items():
                key = f"{section}.{name}"
                if key in _KINDS:
                    layer[key] = _Given(value, origin, path.absolute().parent)
                else:
                    problems.append(_unknown(key, _KINDS, "key", origin))
    return layer


def _from_environment(environ: Mapping[str, str], warnings: list[str]) -> _Layer:
    names = {f"AI_ASSISTANT_{key.replace('.', '_').upper()}": key for key in _KINDS}
    sections = tuple(f"AI_ASSISTANT_{section.upper()}_" for section in _SECTIONS)
    layer: _Layer = {}
    for name, text in environ.items():
        if name in names and text:
            layer[names[name]] = _Given(text, f"environment {name}", Path.cwd(), textual=True)
        elif name not in names and name.startswith(sections):
            warnings.append(_unknown(name, names, "variable", "environment"))
    if text := environ.get("AI_ASSISTANT_API_KEY"):
        others = layer.get(KEYS)
        joined = f"{text},{others.value}" if others else text
        layer[KEYS] = _Given(joined, "environment AI_ASSISTANT_API_KEY", Path.cwd(), textual=True)
    return layer


def _from_flags(flags: Mapping[str, object]) -> _Layer:
    return {
        key: _Given(value, f"flag {FLAGS.get(key, key)}", Path.cwd())
        for key, value in flags.items()
        if value is not None and value != ()
    }


def _overlay(given: _Layer, layer: _Layer) -> None:
    """Put `layer` above; keys and key file are one setting and displace each other."""
    if KEYS in layer or KEY_FILE in layer:
        given.pop(KEYS, None)
        given.pop(KEY_FILE, None)
    given.update(layer)


def _value(key: str, source: _Given, problems: list[str]) -> object:
    kind = _KINDS[key]
    raw = source.value
    if key == ROUTES and not source.textual:
        return _routes(source, problems)
    if source.textual and kind == tuple[str, ...]:
        raw = [part.strip() for part in str(raw).split(",") if part.strip()]
    try:
        value: object = msgspec.convert(raw, type=kind, strict=not source.textual)
    except msgspec.ValidationError:
        choices = ", ".join(map(str, get_args(kind)))
        wanted = _IN_WORDS.get(cast("type", kind), f"one of {choices}")
        got = "***" if key in SECRETS else repr(raw)
        problems.append(f"{key} must be {wanted}, not {got} ({source.origin}).")
        return None
    if isinstance(value, int | float) and (problem := _out_of_range(key, value)):
        problems.append(f"{problem} ({source.origin}).")
    return _rooted(value, source.folder) if key in _PATHS else value


def _routes(source: _Given, problems: list[str]) -> dict[str, Route] | None:
    try:
        return read_routes(source.value)
    except InvalidRequest as error:
        problems.append(f"{error.message} ({source.origin}).")
        return None


def _out_of_range(key: str, value: float) -> str | None:
    low, high = _RANGES.get(key, (0, float("inf")))
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


def _read_keys(
    path: Path, origin: str, problems: list[str], warnings: list[str]
) -> tuple[str, ...]:
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


def _wrong_keys(lines: object, source: _Given | None) -> list[str]:
    found = [_wrong_key(line) for line in cast("tuple[str, ...]", lines or ())]
    return [f"{KEYS}: {problem} ({source.origin})." for problem in found if problem and source]


def _wrong_mode(mode: object, source: _Given | None) -> list[str]:
    try:
        read_mode("max" if mode is None else str(mode))
    except InvalidRequest as error:
        return [f"{POWER}: {error.message} ({source.origin if source else ''})"]
    return []


def _wrong_key(line: str) -> str | None:
    """What is wrong with a key's line, in words that do not repeat it."""
    try:
        read_key(line)
    except InvalidRequest as error:
        return error.message.removesuffix(".")
    return None


def _unknown(name: str, known: Mapping[str, object] | tuple[str, ...], what: str, at: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"There is no {what} {name} ({at}).{meant}"


def _assemble(values: dict[str, object]) -> Settings:
    sections: dict[str, dict[str, object]] = {section: {} for section in _SECTIONS}
    for key, value in values.items():
        section, name = key.split(".")
        sections[section][name] = value
    return msgspec.convert(sections, Settings)
