"""A real node as a user starts it: the command, in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import openai

COMMAND = (sys.executable, "-m", "ai_assistant")


class RunningNode:
    """`ai-assistant serve` on a free port; stop it when done."""

    def __init__(self, folder: Path, *flags: str, **environment: str) -> None:
        self.log = folder / "node.log"
        # An empty file of settings: the machine's own must not matter.
        (folder / "config.toml").touch()
        own = {"AI_ASSISTANT_CONFIG": str(folder / "config.toml")}
        self._environ = os.environ | own | {"AI_ASSISTANT_ENGINE_THREADS": "1"} | environment
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", "0", "--data-dir", str(folder / "data"), *flags],
                stdout=output, stderr=subprocess.STDOUT, env=self._environ,
            )  # fmt: skip
        try:
            self.url = self._await_address()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.openai = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def _await_address(self) -> str:
        found = self.wait_for(lambda: re.search(r"http://[\d.:]+\d", self.log.read_text()))
        return found.group()

    def wait_for(self, condition: Any, seconds: float = 30) -> Any:
        """Poll until `condition()` is true; its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the node ended: {self.log.read_text()}")
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"waited in vain; the node says: {self.log.read_text()}")

    def model(self, model_id: str = "starter") -> dict[str, Any]:
        """One model's entry in the status."""
        models = self.http.get("/status").json()["models"]
        return next(entry for entry in models if entry["model"]["id"] == model_id)

    def wait_ready(self, model_id: str = "starter") -> dict[str, Any]:
        """Its entry once it is loaded."""

        def entry() -> dict[str, Any] | None:
            found = self.model(model_id)
            return found if found["state"] == "ready" else None

        return self.wait_for(entry)

    def command(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`ai-assistant WORDS` about this node, to its end."""
        return subprocess.run(
            [*COMMAND, *words, "--url", self.url],
            env=self._environ, capture_output=True, text=True, timeout=60, check=False, **options,
        )  # fmt: skip

    def kill_engine(self, model_id: str = "starter") -> None:
        """As the kernel's out-of-memory killer would."""
        os.kill(self.wait_ready(model_id)["engine"]["pid"], signal.SIGKILL)

    def stop(self) -> int:
        """End it as a service manager would; the exit code."""
        self.http.close()
        self.openai.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextlib.contextmanager
def ready_node(folder: Path, *flags: str, **environment: str) -> Generator[RunningNode]:
    """A node whose starter model is loaded; it is stopped however the context ends."""
    node = RunningNode(folder, *flags, **environment)
    try:
        node.wait_ready()
        yield node
    finally:
        node.stop()
