"""Our own node as a server under test."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import Server, free_port, launched
from benchmarks.source import BENCH


@contextlib.contextmanager
def start(
    model: Path,
    *,
    slots: int,
    context: int,
    extra: Sequence[str] = (),
    data: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A node whose default model is `model`; without `data`, its data is thrown away.

    `environment` is for settings that have no flag, such as AI_ASSISTANT_CACHE_DISK.
    """
    port = free_port()
    with contextlib.nullcontext(data) if data else data_folder() as folder:
        command = [
            *(sys.executable, "-m", "ai_assistant", "serve"),
            *("--model", model, "--port", str(port), "--data-dir", folder),
            *("--slots", str(slots), "--context", str(context)),
            *extra,
        ]
        with launched("ai-assistant", command, port=port, environment=environment) as server:
            yield server


@contextlib.contextmanager
def data_folder() -> Iterator[Path]:
    """A folder on the disk that the repository lies on, gone afterwards."""
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BENCH) as data:
        yield Path(data)


def engine_status(server: Server) -> dict[str, Any]:
    """What /status says of the engine that is loaded; empty while there is none."""
    engines = (entry.get("engine") for entry in server.get("/status")["models"])
    return next(filter(None, engines), {})
