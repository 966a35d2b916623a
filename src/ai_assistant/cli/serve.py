"""`ai-assistant serve`: the node, in the foreground."""

import errno
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import click

from ai_assistant.cli.errors import CommandError, WrongUse
from ai_assistant.cli.options import config_option, key_file_option, load
from ai_assistant.config import places
from ai_assistant.config.exposure import exposed_without_key
from ai_assistant.config.settings import Settings


@click.command("serve")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATH",
    help="GGUF file to serve; repeat for more. The first one becomes the default.",
)
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 7717]")
@key_file_option
@click.option("--context", type=int, help="Tokens that one conversation may have.")
@click.option("--slots", type=int, help="Conversations answered at once.")
@click.option("--threads", type=int, help="Threads that compute.")
@click.option("--gpu-layers", type=int, help="Layers on the GPU; -1 puts there what fits.")
@click.option("--data-dir", metavar="DIR", help="Where conversations and history are kept.")
@config_option
def command(
    models: tuple[str, ...],
    host: str | None,
    port: int | None,
    api_key_file: Path | None,
    context: int | None,
    slots: int | None,
    threads: int | None,
    gpu_layers: int | None,
    data_dir: str | None,
    config_file: Path | None,
) -> None:
    """Serve models on this machine until Ctrl-C.

    The bundled starter model is always there; --model adds your own. What is not set is
    chosen to fit the machine.

    \b
    Examples:
      ai-assistant serve
      ai-assistant serve --model ~/models/qwen3-8b-q4_k_m.gguf
      ai-assistant serve --model big.gguf --context 32768 --slots 4
      ai-assistant serve --host 0.0.0.0 --api-key-file ~/.config/ai-assistant/api-keys
    """
    loaded = load(
        config_file,
        store__models=models,
        server__host=host,
        server__port=port,
        server__api_key_file=str(api_key_file) if api_key_file else None,
        engine__context=context,
        engine__slots=slots,
        engine__threads=threads,
        engine__gpu_layers=gpu_layers,
        store__data_dir=data_dir,
    )
    settings = loaded.settings
    refuse_exposure(settings, loaded.file)
    refuse_taken_port(settings.server.host, settings.server.port)
    from ai_assistant.node.running import run

    announce = announcer(settings, loaded.file)
    raise SystemExit(run(settings, announce=announce, file=loaded.file))


def refuse_exposure(settings: Settings, file: Path) -> None:
    """Nothing beyond this machine without a key."""
    if not exposed_without_key(settings, file):
        return
    raise WrongUse(
        f"Other machines can reach {settings.server.host}, and no API key is set.",
        "Make one with `ai-assistant keys add NAME`, or with `ai-assistant config new-key` and "
        f"--api-key-file {places.default_key_file()}",
    )


def refuse_taken_port(host: str, port: int) -> None:
    """A plain word before the long start."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"Port {port} is taken.",
            "If it is a node, `ai-assistant ps` shows it; else choose another with --port.",
        )
    if error.errno == errno.EACCES:
        return CommandError(f"Port {port} is reserved for the system.", "Choose one above 1024.")
    return WrongUse(f"This machine has no address {host}.", "Use 127.0.0.1, or 0.0.0.0 for all.")


def announcer(settings: Settings, file: Path) -> Callable[[str], None]:
    """What is printed once the node listens."""

    def announce(url: str) -> None:
        keyed = bool(settings.server.api_keys) or places.keys_file(file).exists()
        for line in greeting(url, with_key=keyed):
            click.echo(line)

    return announce


def own_command() -> str:
    """How this command is called from where the user stands."""
    if shutil.which("ai-assistant"):
        return "ai-assistant"
    called = Path(sys.argv[0])
    return os.path.relpath(called) if called.name == "ai-assistant" else "ai-assistant"


def greeting(url: str, *, with_key: bool) -> list[str]:
    """The console's address, one curl, one chat."""
    key = ' -H "Authorization: Bearer $AI_ASSISTANT_API_KEY"' if with_key else ""
    local = url == "http://127.0.0.1:7717"
    chat = f"{own_command()} chat" if local else f"{own_command()} chat --url {url}"
    body = """'{"messages": [{"role": "user", "content": "Hello"}]}'"""
    ask = f"curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d {body}"
    return [
        "",
        f"  {click.style('Console', bold=True)}  {click.style(url + '/', fg='cyan')}",
        f"  {click.style('Chat', bold=True)}     {chat}",
        f"  {click.style('API', bold=True)}      {ask}",
        "",
        "  Ctrl-C stops the node.",
        "",
    ]
