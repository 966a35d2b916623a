"""Which node a command talks to: one that runs, or one for as long as the command does."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from ai_assistant.cli.client import Client
from ai_assistant.cli.errors import NodeUnreachable
from ai_assistant.cli.options import load
from ai_assistant.config.schema import KEYS
from ai_assistant.config.settings import Settings
from ai_assistant.gateway.keys import secret_of


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An address and the key for it."""

    url: str
    key: str | None
    chosen: bool
    """The user named this address: nothing else will do."""
    settings: Settings


def target(url: str | None, config_file: Path | None, api_key_file: Path | None) -> Target:
    """The node that the options and settings mean."""
    key_file = str(api_key_file) if api_key_file else None
    loaded = load(config_file, server__api_key_file=key_file)
    server = loaded.settings.server
    # The keys in the settings file are for this node; they do not go to an address on the line.
    ours = url is None or not loaded.origins[KEYS].startswith("file")
    return Target(
        url=_whole(url) if url else local_url(server.host, server.port),
        key=secret_of(server.api_keys[0]) if server.api_keys and ours else None,
        chosen=url is not None,
        settings=loaded.settings,
    )


def local_url(host: str, port: int) -> str:
    """The address to call for a node that listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _whole(url: str) -> str:
    url = url if "://" in url else f"http://{url}"
    return url.rstrip("/").removesuffix("/v1")


@contextmanager
def running(aim: Target) -> Generator[Client, None, None]:
    """A client of the node there, which may or may not answer."""
    client = Client(aim.url, aim.key)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def running_or_temporary(
    aim: Target, say: Callable[[str], None] | None = None
) -> Generator[Client, None, None]:
    """A client of the node there, else of one started now and stopped at the end."""
    with running(aim) as client:
        if _answers(client, required=aim.chosen):
            yield client
            return
    (say or _say)("No node is running: starting one. `ai-assistant serve` keeps one running.")
    from ai_assistant.node.temporary import temporary

    with (
        temporary(aim.settings) as url,
        running(msgspec.structs.replace(aim, url=url)) as client,
    ):
        yield client


def _answers(client: Client, *, required: bool) -> bool:
    try:
        client.status()
    except NodeUnreachable:
        if required:
            raise
        return False
    return True


def _say(line: str) -> None:
    click.echo(click.style(line, dim=True), err=True)
