"""The dotted keys of all settings: their types, ranges and flags."""

from collections.abc import Mapping

from msgspec import structs

from ai_assistant.config.settings import Settings
from ai_assistant.scheduler.routing.routes import Points, Route

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
PATHS = frozenset({"store.models", "store.data_dir", "cache.dir", "jobs.dir", KEY_FILE})
RANGES: dict[str, tuple[float, float]] = {
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
IN_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
    dict[str, Points]: "a table of names and points from 0 to 100",
    dict[str, Route]: "sections of the settings file, such as [routes.fast]",
}
"""What a type is called to the owner."""


def _fields() -> dict[str, structs.FieldInfo]:
    found: dict[str, structs.FieldInfo] = {}
    for section in structs.fields(Settings):
        for field in structs.fields(section.type):
            found[f"{section.name}.{field.name}"] = field
    return found


FIELDS = _fields()
KINDS: Mapping[str, object] = {key: field.type for key, field in FIELDS.items()} | {KEY_FILE: str}
SECTIONS = tuple(field.name for field in structs.fields(Settings))
