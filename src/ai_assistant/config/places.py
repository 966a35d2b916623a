"""Where files lie: the settings and what stands beside them, and the data folder."""

from pathlib import Path

import platformdirs

from ai_assistant.config.settings import Settings

APPLICATION = "ai-assistant"


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
