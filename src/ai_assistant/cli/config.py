"""`ai-assistant config`: what is set, by whom, and new API keys."""

import json
import os
import secrets
from pathlib import Path

import click

from ai_assistant.cli.errors import CommandError, WrongUse
from ai_assistant.cli.options import config_option, json_option, key_file_option, load
from ai_assistant.cli.output import columns
from ai_assistant.config import places
from ai_assistant.config.loading import shown
from ai_assistant.gateway.keys import CLASSES, WEIGHTS, read_key, write_key
from ai_assistant.protocol.errors import InvalidRequest


@click.group("config")
def command() -> None:
    """Show settings and make API keys.

    A flag goes before the environment, the environment before the file. Every key can be set
    as AI_ASSISTANT_SECTION_KEY, such as AI_ASSISTANT_SERVER_PORT.

    \b
    Examples:
      ai-assistant config show
      ai-assistant config new-key
    """


@command.command("show")
@json_option
@config_option
def show(as_json: bool, config_file: Path | None) -> None:
    """Print every setting and where it came from.

    \b
    Examples:
      ai-assistant config show
      ai-assistant config show --json
    """
    loaded = load(config_file)
    rows = shown(loaded)
    if as_json:
        settings = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        click.echo(json.dumps({"file": str(loaded.file), "settings": settings}))
        return
    found = "" if loaded.file.exists() else " (does not exist)"
    click.echo(f"Settings file: {loaded.file}{found}\n")
    table = [(key, _in_words(value), origin) for key, value, origin in rows]
    click.echo(columns(("key", "value", "from"), table))


def _in_words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(value) if value not in ("", {}) else "-"


@command.command("new-key")
@click.option(
    "--name", metavar="NAME", help="Whose key it is; keys of one name share what they get."
)
@click.option(
    "--class",
    "kind",
    type=click.Choice(tuple(CLASSES)),
    help="The most urgent class it may ask for.  [default: interactive]",
)
@click.option(
    "--weight",
    type=click.FloatRange(*WEIGHTS),
    help="Its share against the others of its class.  [default: 1]",
)
@key_file_option
@json_option
def new_key(
    name: str | None,
    kind: str | None,
    weight: float | None,
    api_key_file: Path | None,
    as_json: bool,
) -> None:
    """Make an API key and keep it in a file that only you can read.

    A file that exists gets one more key; remove a line to withdraw that key.

    \b
    Examples:
      ai-assistant config new-key
      ai-assistant config new-key --name alice
      ai-assistant config new-key --name nightly --class batch --weight 0.5
      ai-assistant config new-key --api-key-file ./team-keys
    """
    path = (api_key_file or places.default_key_file()).expanduser().absolute()
    line = write_key(f"aia-{secrets.token_urlsafe(32)}", name=name, kind=kind, weight=weight)
    try:
        read_key(line)
        append_key(path, line)
    except InvalidRequest as error:
        raise WrongUse(error.message, "Choose another --name.") from error
    except OSError as error:
        raise CommandError(
            f"The key file {path} cannot be written: {error.strerror}.",
            "Choose another place with --api-key-file.",
        ) from error
    if as_json:
        click.echo(json.dumps({"file": str(path)}))
        return
    click.echo(f"A new key is in {path}, readable by you alone.\n")
    click.echo("Serve with it:")
    click.echo(f"  ai-assistant serve --host 0.0.0.0 --api-key-file {path}")
    click.echo("Always, in the settings file:")
    click.echo(f"  [server]\n  api_key_file = {json.dumps(str(path))}")
    click.echo("Use it in a client:")
    click.echo(f"  export AI_ASSISTANT_API_KEY=$(tail -n 1 {path} | cut -d ' ' -f 1)")


def append_key(path: Path, line: str) -> None:
    """Add a line; a new file is the owner's alone from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "r+b") as file:
        if os.name == "posix":
            os.fchmod(file.fileno(), 0o600)
        before = file.read()
        gap = "\n" if before and not before.endswith(b"\n") else ""
        file.write(f"{gap}{line}\n".encode())
