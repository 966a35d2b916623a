"""`ai-assistant route`: who would answer a prompt, and why."""

from pathlib import Path
from typing import Any, cast, get_args

import click
import msgspec

from ai_assistant.cli.connect import running, target
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import json_option, node_options
from ai_assistant.cli.output import columns, printable
from ai_assistant.protocol.routing import Decision, Objective, Weighed

_PATH = "/v1/chat/completions?explain=only"


@click.command("route")
@click.argument("prompt")
@click.option("--model", "-m", metavar="NAME", default="auto", show_default=True,
              help="A model, or one of your routes.")  # fmt: skip
@click.option("--objective", type=click.Choice(get_args(Objective)), help="What matters most.")
@click.option("--max-price", type=click.FloatRange(0), metavar="USD", help="For the request.")
@click.option("--max-ttft", type=click.FloatRange(0), metavar="SECONDS",
              help="Until the first token.")  # fmt: skip
@click.option("--region", multiple=True, metavar="NAME", help="Only there; may be repeated.")
@click.option("--max-tokens", type=click.IntRange(1), help="Length of the answer.")
@click.option("--terms", is_flag=True, help="Show what each figure is made of.")
@json_option
@node_options
def command(
    prompt: str,
    model: str,
    objective: str | None,
    max_price: float | None,
    max_ttft: float | None,
    region: tuple[str, ...],
    max_tokens: int | None,
    terms: bool,
    as_json: bool,
    url: str | None,
    api_key_file: Path | None,
    config_file: Path | None,
) -> None:
    """Show which model would answer, and why.

    Nobody is asked and nothing is sent: the node decides as it would for this prompt now.

    \b
    Examples:
      ai-assistant route "Hello"
      ai-assistant route "Prove it." --model fast --objective quality --terms
      ai-assistant route "Hello" --max-price 0.001 --region eu --json
    """
    limits = {"objective": objective, "max_price": max_price, "max_ttft": max_ttft}
    wishes: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    if region:
        wishes["regions"] = list(region)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    body |= {"routing": wishes} if wishes else {}
    body |= {"max_tokens": max_tokens} if max_tokens else {}
    with running(target(url, config_file, api_key_file)) as client:
        found = cast("object", client.fetch("POST", _PATH, json=body))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    try:
        decision = msgspec.convert(found, Decision)
    except msgspec.ValidationError as error:
        raise CommandError(
            "The node is of another version than this command.", "Start it anew."
        ) from error
    _show(decision, terms=terms)


def _show(decision: Decision, *, terms: bool) -> None:
    click.echo(printable(f"{decision.asked} ({decision.objective}): {decision.reason}\n"))
    head = ("turn", "worker", "where", "TTFT", "TPOT", "cost", "quality", "score", "why not")
    click.echo(columns(head, [_row(one) for one in decision.candidates]))
    if terms:
        for one in decision.candidates:
            click.echo(f"\n{printable(one.worker)}")
            rows = [(term.name, term.value, printable(term.note)) for term in one.terms]
            click.echo(columns(("term", "value", ""), rows))
    click.echo(f"\nDecided in {decision.microseconds / 1000:.2f} ms.")


def _row(one: Weighed) -> tuple[str, ...]:
    turn = "-" if one.turn is None else str(one.turn)
    return (
        turn + (" fallback" if one.fallback else ""),
        printable(one.worker),
        one.place,
        "-" if one.ttft is None else f"{one.ttft:.2f} s",
        "-" if one.tpot is None else f"{one.tpot * 1000:.1f} ms",
        "unknown" if one.cost is None else f"${one.cost:.6f}",
        "-" if one.quality is None else f"{one.quality:.0f}",
        "-" if one.score is None else f"{one.score:.4g}",
        printable(one.refused),
    )
