"""`ai-assistant version`."""

import json
import platform
from importlib import metadata

import click


def installed_version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("ai-assistant")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def _kernels() -> str | None:
    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return None


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print the version.

    \b
    Examples:
      ai-assistant version
      ai-assistant version --json
    """
    facts = {
        "version": installed_version(),
        "kernels": _kernels(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    kernels = facts["kernels"] or "not installed"
    click.echo(f"ai-assistant {facts['version']}")
    click.echo(f"kernels {kernels}, Python {facts['python']}, {facts['system']}")
