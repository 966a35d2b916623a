"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ai_assistant.cli.errors import from_config
from ai_assistant.config import loading
from ai_assistant.config.loading import ConfigError, Loaded

Decorated = Callable[..., Any]

_file = click.Path(path_type=Path, dir_okay=False)

config_option = click.option(
    "--config", "config_file", type=_file, metavar="FILE", help="Settings file to use."
)
key_file_option = click.option(
    "--api-key-file", type=_file, metavar="FILE", help="File with API keys, one per line."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
model_option = click.option(
    "--model", "-m", metavar="ID", help="Model to use; the node's default if not given."
)


def node_options(function: Decorated) -> Decorated:
    """Which node to talk to, and how to be let in."""
    url = click.option(
        "--url", metavar="URL", help="Node to talk to; this machine's own if not given."
    )
    return url(key_file_option(config_option(function)))


def load(config_file: Path | None, **flags: object) -> Loaded:
    """The settings of this run; flags are given by dotted key with `__` for the dot."""
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    try:
        loaded = loading.load(dotted, config_file=config_file)
    except ConfigError as error:
        raise from_config(error) from error
    for warning in loaded.warnings:
        click.echo(f"{click.style('Warning:', fg='yellow')} {warning}", err=True)
    return loaded
