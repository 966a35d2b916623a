"""`ai-assistant power`: what the node may draw, and what it draws."""

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from ai_assistant.cli.connect import running, target
from ai_assistant.cli.options import json_option, node_options
from ai_assistant.protocol.power import PowerStatus, Restraint

_REASONS = {"heat": "because of the heat", "power": "to keep to the watts"}


@click.command("power")
@click.argument("mode", required=False)
@json_option
@node_options
def command(
    mode: str | None,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Show or change how much power the node uses.

    MODE is max, balanced, quiet, or watts such as 45W. Balanced and quiet use fewer threads; quiet
    also runs fewer requests at once, does not guess ahead, and slows down above 70 degrees. Watts
    are kept by working less, as far as a sensor tells the power. It lasts until the node ends;
    for good it belongs into the settings, as power.mode.

    With power.change_system = true in the settings, and as root, the node also sets the system
    meanwhile: governor, limits of processor and NVIDIA cards; and puts them back when it ends.

    \b
    Examples:
      ai-assistant power
      ai-assistant power quiet
      ai-assistant power 45W
    """
    with running(target(url, config_file, api_key_file)) as client:
        if mode is None:
            answer = client.fetch("GET", "/admin/power")
        else:
            answer = client.fetch("PUT", "/admin/power", json={"mode": mode})
    status = msgspec.convert(answer, PowerStatus)
    click.echo(msgspec.json.encode(status) if as_json else "\n".join(lines(status)))


def lines(status: PowerStatus) -> Iterator[str]:
    """The whole report."""
    yield f"{status.mode}: {allowed(status.restraint)}"
    if status.slowed_by:
        yield f"  slowed down {_REASONS[status.slowed_by]}"
    if figures := ", ".join(said(status)):
        yield f"  {figures}"
    if status.sensors:
        yield f"  measured by {', '.join(status.sensors)}"
    else:
        yield "  no sensor here tells energy to this user"
    for setting in status.settings:
        yield f"  set: {setting}"
    for by_hand in status.refused:
        yield f"  not allowed to; you could: {by_hand}"


def allowed(restraint: Restraint) -> str:
    """What engines may use."""
    parts = [
        f"at most {restraint.threads} thread{'s' * (restraint.threads > 1)}"
        if restraint.threads
        else "",
        f"{restraint.slots} requests at once" if restraint.slots else "",
        "" if restraint.speculation else "no guesses",
        f"working {restraint.work:.0%} of the time" if restraint.work < 1 else "",
    ]
    return ", ".join(filter(None, parts)) or "everything may be used"


def said(status: PowerStatus) -> Iterator[str]:
    """What sensors tell; nothing where there are none."""
    if status.watts is not None:
        yield f"{status.watts:.1f} W"
    if status.joules_per_token is not None:
        yield f"{status.joules_per_token:.2f} J per token"
    if status.temperature is not None:
        yield f"{status.temperature:.0f} °C"
    if status.ceiling is not None:
        yield f"ceiling {status.ceiling:.0f} °C"
