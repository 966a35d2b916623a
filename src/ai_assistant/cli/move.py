"""`ai-assistant move`: lay a model out anew while it answers."""

from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import click
import msgspec

from ai_assistant.cli.client import Client, refusal_from
from ai_assistant.cli.connect import running, target
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import json_option, node_options
from ai_assistant.cli.output import size
from ai_assistant.cli.progress import Tell, bar
from ai_assistant.protocol.moves import MoveResult, MoveStep


class _Line(msgspec.Struct):
    """A line of the node's answer."""

    step: MoveStep | None = None
    result: MoveResult | None = None
    error: dict[str, Any] | None = None


_lines = msgspec.json.Decoder(_Line)


@click.command("move")
@click.argument("model")
@click.argument("more", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--plan", "-p", "plan", multiple=True, metavar="KEY=VALUE", help="What to change.")
@click.option("--to", metavar="NODE", help="Another node goes on with the running answers.")
@click.option("--release", is_flag=True, help="The node may lay it out by itself again.")
@click.option(
    "--how",
    type=click.Choice(["auto", "beside", "instead"]),
    default="auto",
    show_default=True,
    help="Where weights move: two engines for a while, or one after the other.",
)
@json_option
@node_options
def command(
    model: str,
    more: tuple[str, ...],
    plan: tuple[str, ...],
    to: str | None,
    release: bool,
    how: str,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Lay a model out anew while it answers, or hand its answers to another node.

    The answers that are being written pause and go on where they were; new requests wait. Keys
    are those of the settings: threads, context, cells, slots, chunk, kv_type, gpu_layers,
    share_weights, speculation, batch_floor, tpot_factor. It lasts until the model is unloaded;
    for good it belongs into the settings. Until then the node does not lay the model out anew by
    itself; --release lets it again.

    Only gpu_layers and share_weights load the weights again: beside the old engine, which goes on
    meanwhile, or instead of it where memory is short. Where the new plan cannot be loaded, the old
    one goes on.

    With --to the plan stays: the node of that name in providers.toml goes on with the answers that
    are being written, from the very token where it has the same model file. Clients notice a pause.
    What the rules keep here, or nobody takes, goes on here.

    \b
    Examples:
      ai-assistant move starter --plan threads=4
      ai-assistant move starter --plan context=16384 slots=8
      ai-assistant move mistral-7b --plan gpu_layers=20 --how instead
      ai-assistant move starter --to desk
      ai-assistant move starter --release
    """
    if release and (to or plan or more):
        raise click.UsageError("--release stands alone: what runs goes on as it is.")
    if to and (plan or more):
        raise click.UsageError("--to leaves the plan as it is: give one of both.")
    aim = target(url, config_file, api_key_file)
    if release:
        with running(aim) as client:
            done = _release(client, model)
        click.echo(msgspec.json.encode(done) if as_json else f"{model} follows its machine again.")
        return
    if to:
        with running(aim) as client:
            result = _hand_over(client, model, to)
    else:
        body = {"plan": _changes((*plan, *more)), "how": how}
        with running(aim) as client, bar(f"Moving {model}", quiet=as_json) as tell:
            result = _move(client, model, body, tell)
    click.echo(msgspec.json.encode(result) if as_json else told(result, to or ""))


def _changes(pairs: tuple[str, ...]) -> dict[str, str]:
    changes: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{pair!r} is not KEY=VALUE.")
        changes[key.strip().replace("-", "_")] = value.strip()
    if not changes:
        raise click.UsageError("Name what to change: --plan threads=4.")
    return changes


def _move(client: Client, model: str, body: dict[str, Any], tell: Tell) -> MoveResult:
    path = f"/admin/models/{quote(model, safe='')}/move"
    with client.opened("POST", path, json=body) as response:
        for line in response.iter_lines():
            found = _lines.decode(line) if line.strip() else _Line()
            if found.step:
                tell(found.step.progress)
            if found.error:
                raise refusal_from(line.encode(), 200, {})
            if found.result:
                return found.result
    raise CommandError(
        "The node ended the connection before the move was done.", "See `ai-assistant ps`."
    )


def _release(client: Client, model: str) -> dict[str, Any]:
    path = f"/admin/models/{quote(model, safe='')}/release"
    return cast("dict[str, Any]", client.fetch("POST", path))


def _hand_over(client: Client, model: str, to: str) -> MoveResult:
    path = f"/admin/models/{quote(model, safe='')}/hand-over"
    return msgspec.convert(client.fetch("POST", path, json={"to": to}, timeout=None), MoveResult)


def told(result: MoveResult, to: str = "") -> str:
    """The result in words."""
    if result.how == "elsewhere":
        return _told_of_leaving(result, to)
    if not result.sequences:
        return f"{result.model} has the new plan after {result.seconds:.1f} s; nobody was waiting."
    details = [_WAYS[result.how]]
    if result.bytes:
        details.append(f"{size(result.bytes)} handed over")
    if again := result.sequences - result.restored:
        details.append(f"{again} computed again")
    return (
        f"{result.model} has the new plan after {result.seconds:.1f} s. {result.sequences} answers "
        f"went on after a pause of {result.paused_seconds:.2f} s ({', '.join(details)})."
    )


def _told_of_leaving(result: MoveResult, to: str) -> str:
    if not result.sequences:
        return f"{result.model} was answering nobody."
    words = f"{result.gone} of {result.sequences} answers of {result.model} go on at {to}."
    if result.gone < result.sequences:
        words += " The others go on here; the node's log says why."
    return words


_WAYS = {
    "in place": "the weights stayed where they were",
    "beside": "a second engine took over",
    "instead": "one engine after the other",
}
