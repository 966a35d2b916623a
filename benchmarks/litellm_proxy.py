"""LiteLLM's proxy, in an environment of its own, before a given server.

`python -m benchmarks.litellm_proxy` installs it (a minute, once); `start(…)` runs it.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.servers import Server, free_port, launched
from benchmarks.source import BENCH

VERSION = "1.106.2"
KEY = "sk-0123456789abcdef0123456789abcdef"
"""It refuses to start without one."""
CONFIG = """\
model_list:
  - model_name: starter
    litellm_params:
      model: openai/instant
      api_base: http://127.0.0.1:{port}/v1
      api_key: none
litellm_settings:
  set_verbose: false
  telemetry: false
  request_timeout: 600
general_settings:
  master_key: {key}
  disable_spend_logs: true
"""
"""What its own advice for production says: quiet, and no data base."""
ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "true",
}


def install() -> Path:
    """Its command."""
    folder = BENCH / "litellm"
    command = folder / "bin" / "litellm"
    if not command.exists():
        subprocess.run(["uv", "venv", "-p", "3.11", folder], check=True)
        package = f"litellm[proxy]=={VERSION}"
        subprocess.run(
            ["uv", "pip", "install", "-p", folder / "bin" / "python", package], check=True
        )
    return command


@contextlib.contextmanager
def start(upstream: int, *, workers: int = 1) -> Iterator[Server]:
    """A proxy with a model `starter` that is served at the port `upstream`."""
    command, port = install(), free_port()
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        config = Path(folder, "config.yaml")
        config.write_text(CONFIG.format(port=upstream, key=KEY))
        line = [
            *(command, "--config", config, "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", str(workers), "--telemetry", "False"),
        ]
        with launched(
            "litellm", line, port=port, environment=ENVIRONMENT, healthy="/health/liveliness"
        ) as server:
            yield server


if __name__ == "__main__":
    print(install())
