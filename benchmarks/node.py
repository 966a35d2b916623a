"""Our own node as a server under test."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.servers import Server, free_port, launched
from benchmarks.source import BENCH


@contextlib.contextmanager
def start(model: Path, *, slots: int, context: int, extra: Sequence[str] = ()) -> Iterator[Server]:
    """A node whose default model is `model`, with data of its own that is thrown away."""
    port = free_port()
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BENCH) as data:
        command = [
            *(sys.executable, "-m", "ai_assistant", "serve"),
            *("--model", model, "--port", str(port), "--data-dir", data),
            *("--slots", str(slots), "--context", str(context)),
            *extra,
        ]
        with launched("ai-assistant", command, port=port) as server:
            yield server
