"""A node of one's own for a command: a child process that ends with its parent."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import msgspec

from ai_assistant.config.settings import Settings
from ai_assistant.node.running import run
from ai_assistant.protocol.errors import AssistantError, EngineError
from ai_assistant.protocol.scratch import scratch_folder

START_SECONDS = 60.0
"""How long it may take to listen."""


@contextlib.contextmanager
def temporary(settings: Settings) -> Generator[str]:
    """A node as a child process on a free port of this machine, for the life of the context.

    Yields its address. Raises `EngineError` with its last words if it does not come up.
    """
    with scratch_folder("node") as folder:
        address, log = folder / "address", folder / "log"
        server = msgspec.structs.replace(settings.server, host="127.0.0.1", port=0, api_keys=())
        (folder / "settings.json").write_bytes(
            msgspec.json.encode(msgspec.structs.replace(settings, server=server))
        )
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "ai_assistant.node.temporary", str(folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield _await_address(child, address, log)
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()


def _await_address(child: subprocess.Popen[bytes], address: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        if address.exists():
            return address.read_text()
        time.sleep(0.02)
    words = log.read_text(errors="replace").strip().splitlines()
    raise EngineError(f"The node did not start: {words[-1] if words else 'it gave no reason'}")


def _child(folder: Path) -> int:
    """The temporary node's own process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = msgspec.json.decode((folder / "settings.json").read_bytes(), type=Settings)

    def announce(url: str) -> None:
        part = folder / "address.part"
        part.write_text(url)
        part.rename(folder / "address")

    try:
        return run(settings, announce=announce, resume=False)
    except AssistantError as error:
        sys.stderr.write(error.message + "\n")
        return 1


def _end_with_parent() -> None:
    """The pipe from the parent closes when it dies, however it dies."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_child(Path(sys.argv[1])))
