"""`ai-assistant batch watch`: how far a batch is, until it has ended."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import click
import msgspec

from ai_assistant.cli.batch_objects import Batch, Meter, progress_line, read_batch
from ai_assistant.cli.client import Client
from ai_assistant.cli.errors import NodeUnreachable

LOOK_SECONDS = 1.0


def watch(client: Client, name: str, *, as_json: bool) -> Batch:
    """Show it until it has ended. Ctrl-C leaves the batch running, and says so."""
    try:
        return _json(client, name) if as_json else _lines(client, name)
    except KeyboardInterrupt:
        click.echo(
            f"\nThe batch goes on. See it again with: ai-assistant batch watch {name}", err=True
        )
        raise click.exceptions.Exit(130) from None


def _json(client: Client, name: str) -> Batch:
    last = None
    for tree in _looks(client, name, _say):
        if tree != last:
            click.echo(msgspec.json.encode(tree))
        last = tree
    return read_batch(last)


def _lines(client: Client, name: str) -> Batch:
    """On a terminal one line that changes; else a line whenever something has changed."""
    from rich.live import Live
    from rich.text import Text

    meter, batch, shown = Meter(), None, ""
    with Live(auto_refresh=False) if sys.stdout.isatty() else nullcontext() as live:

        def show(line: str) -> None:
            nonlocal shown
            if live is not None:
                live.update(Text(line), refresh=True)
            elif line != shown:
                click.echo(line)
            shown = line

        for tree in _looks(client, name, show):
            batch = read_batch(tree)
            meter.note(batch.request_counts.done)
            show(f"{batch.id}: {progress_line(batch, meter)}")
    assert batch is not None
    return batch


def _looks(client: Client, name: str, say: Callable[[str], None]) -> Iterator[Any]:
    """The batch, every second. A node that went away may come back: its batches go on then."""
    seen = False
    while True:
        try:
            tree = client.fetch("GET", f"/v1/batches/{name}")
        except NodeUnreachable:
            if not seen:
                raise
            say(f"{name}: the node does not answer; the batch goes on when it is back")
        else:
            seen = True
            yield tree
            if read_batch(tree).ended:
                return
        time.sleep(LOOK_SECONDS)


def _say(line: str) -> None:
    click.echo(line, err=True)
