"""`ai-assistant models`."""

import json
from pathlib import Path
from typing import Any

import click

from ai_assistant.cli.connect import Target, running, target
from ai_assistant.cli.errors import NodeUnreachable
from ai_assistant.cli.options import json_option, node_options
from ai_assistant.cli.output import columns, size
from ai_assistant.protocol.status import ModelStatus


@click.command("models")
@json_option
@node_options
def command(
    as_json: bool, url: str | None, config_file: Path | None, api_key_file: Path | None
) -> None:
    """List the models of the node, or of the disk when no node runs.

    \b
    Examples:
      ai-assistant models
      ai-assistant models --json
    """
    found, live = statuses(target(url, config_file, api_key_file))
    if as_json:
        click.echo(json.dumps([as_object(one, live=live) for one in found]))
        return
    if not found:
        click.echo("There is no model. Serve one with: ai-assistant serve --model FILE.gguf")
        return
    head = ("id", "size", "quantisation", "parameters", "context", "state", "default")
    click.echo(columns(head, [as_row(one, live=live) for one in found]))
    if not live:
        click.echo(click.style("\nNo node is running; these are the files.", dim=True), err=True)


def statuses(aim: Target) -> tuple[list[ModelStatus], bool]:
    """Models with their state, and whether a node told it."""
    try:
        with running(aim) as client:
            return list(client.status().models), True
    except NodeUnreachable:
        if aim.chosen:
            raise
    from ai_assistant.node.models_here import known_models

    known = known_models(aim.settings)
    return [ModelStatus(model=one, state="unloaded") for one in known], False


def state(one: ModelStatus, *, live: bool) -> str:
    """The state in words, with progress while it loads."""
    if not live:
        return "on disk"
    return f"loading {one.progress:.0%}" if one.state == "loading" else one.state


def context(one: ModelStatus) -> int:
    """Tokens that one conversation may have; what the model was trained for until it runs."""
    return one.engine.context_limit if one.engine else one.model.context_train


def as_row(one: ModelStatus, *, live: bool) -> tuple[str, ...]:
    """The columns of one model."""
    return (
        one.model.id,
        size(one.model.size_bytes),
        one.model.quantisation,
        parameters(one.model.parameters),
        str(context(one)),
        state(one, live=live),
        "default" if one.default else "",
    )


def parameters(count: int) -> str:
    """Parameters in millions or billions."""
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def as_object(one: ModelStatus, *, live: bool) -> dict[str, Any]:
    """The model for a script."""
    return {
        "id": one.model.id,
        "name": one.model.name,
        "path": one.model.path,
        "size_bytes": one.model.size_bytes,
        "quantisation": one.model.quantisation,
        "parameters": one.model.parameters,
        "context": context(one),
        "state": one.state if live else "on disk",
        "default": one.default,
        "embedding": one.model.embedding,
        "licence": one.model.licence,
    }
