"""`ai-assistant providers`: other servers that may answer, if the rules let them."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ai_assistant.cli import providers_probe
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.cli.output import columns, printable
from ai_assistant.config import places
from ai_assistant.config.loading import Loaded
from ai_assistant.config.sources import variables
from ai_assistant.protocol.egress import Place
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.offers import Price, WorkerFacts
from ai_assistant.workers.providers.fleet import make_offer
from ai_assistant.workers.providers.keys import find_key, forget_key, store_key
from ai_assistant.workers.providers.litellm_config import read_litellm
from ai_assistant.workers.providers.provider import Provider, ProviderModel, check
from ai_assistant.workers.providers.providers_file import (
    put_provider,
    put_providers,
    read_providers,
    remove_provider,
)
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.kinds import KINDS
from ai_assistant.workers.remote.secret import Secret
from ai_assistant.workers.remote.worker import clock

_NEXT = "It takes effect when the node starts next."
_RULES = "What may go there is said by the rules: `ai-assistant policy show`."


@click.group("providers")
def command() -> None:
    """Name other servers and clouds that may answer.

    Without rules that allow it nothing is sent to any of them. Keys are kept in the environment,
    in the system's key store or in a file, never in the settings.

    \b
    Examples:
      ai-assistant providers add openai --model gpt-4o-mini --key-env OPENAI_API_KEY
      ai-assistant providers ls
      ai-assistant providers test
    """


@command.command("add")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Kind of server; NAME if that is one.")
@click.option("--base-url", metavar="URL", help="Address; the usual one of its kind if not given.")
@click.option("--model", "-m", "models", multiple=True, metavar="ID[=NAME]",
              help="Model there, and the name that clients use here; repeatable.")  # fmt: skip
@click.option("--region", default="", metavar="TEXT", help="Where it computes, such as eu or cn.")
@click.option("--place", type=click.Choice(["machine", "lan", "cloud"]),
              help="Whose network it is in; told by the address if not given.")  # fmt: skip
@click.option("--price", metavar="IN,OUT", help="Dollars per million tokens, read and written.")
@click.option("--key-env", metavar="NAME", help="Variable that holds the key.")
@click.option("--key-file", metavar="PATH", help="File that holds the key.")
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input.")
@click.option("--no-key", is_flag=True, help="It needs no key.")
@json_option
@config_option
def add(
    name: str,
    kind: str | None,
    base_url: str | None,
    models: tuple[str, ...],
    region: str,
    place: Place | None,
    price: str | None,
    key_env: str | None,
    key_file: str | None,
    key_stdin: bool,
    no_key: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Add a server or cloud, or replace the one of that name.

    Without a --key option the key is asked for and goes to the system's key store.

    \b
    Examples:
      ai-assistant providers add anthropic --model claude-sonnet-4-5=sonnet
      ai-assistant providers add openai --model gpt-4o-mini --key-env OPENAI_API_KEY
      ai-assistant providers add desk --kind ai-assistant --base-url http://192.168.1.20:7717/v1 -m starter --no-key
      ai-assistant providers add vllm --base-url http://127.0.0.1:8000/v1 -m qwen --no-key
    """  # noqa: E501 - an example is one line
    given = [bool(key_env), bool(key_file), key_stdin, no_key]
    if sum(given) > 1:
        raise click.UsageError("Say only once where the key is.")
    source = _key_source(key_env, key_file, no_key)
    provider = Provider(
        kind=kind or (name if name in KINDS else "openai-compatible"),
        base_url=base_url or "",
        key=source,
        region=region,
        place=place,
        models=tuple(_model(text, price) for text in models),
    )
    check(name, provider)
    path = places.providers_file(load(config_file).file)
    if source == "keyring":
        store_key(name, _ask_for_key(name, from_stdin=key_stdin))
    put_provider(path, name, provider)
    if as_json:
        click.echo(msgspec.json.encode({"added": name, "file": str(path)}))
        return
    click.echo(f"Added {name} to {path}. {_NEXT}\n{_RULES}")
    if not provider.models:
        click.echo("It has no model yet: add it again with --model.")


def _key_source(key_env: str | None, key_file: str | None, no_key: bool) -> str:
    if key_env:
        return f"env:{key_env}"
    if key_file:
        return f"file:{Path(key_file).expanduser().absolute()}"
    return "" if no_key else "keyring"


def _ask_for_key(name: str, *, from_stdin: bool) -> Secret:
    if from_stdin:
        key = sys.stdin.readline().strip()
    else:
        key = str(click.prompt(f"Key of {name}", hide_input=True, err=True)).strip()
    if not key:
        raise CommandError("The key is empty.", "Give it again, or use --no-key.")
    return Secret(key)


def _model(text: str, price: str | None) -> ProviderModel:
    model, _, name = text.partition("=")
    return ProviderModel(id=model, names=(name,) if name else (), price=_price(price))


def _price(text: str | None) -> Price | None:
    if text is None:
        return None
    try:
        read, written = map(float, text.split(","))
    except ValueError:
        raise click.UsageError("--price takes two numbers, such as 0.15,0.60.") from None
    return Price(input=read, output=written)


@command.command("ls")
@json_option
@config_option
def ls(as_json: bool, config_file: Path | None) -> None:
    """List the providers, their models, and how they did with real requests.

    \b
    Examples:
      ai-assistant providers ls
      ai-assistant providers ls --json
    """
    loaded = load(config_file)
    path = places.providers_file(loaded.file)
    found = read_providers(path)
    records = RecordsFile(places.providers_seen_file(loaded.settings))
    rows = [row for name, one in found.items() for row in _entries(loaded, name, one, records)]
    if as_json:
        click.echo(msgspec.json.encode(rows))
    elif rows:
        head = ("model", "asked for as", "kind", "place", "region", "key", "first token",
                "tokens/s", "errors", "$ in/out per M")  # fmt: skip
        click.echo(columns(head, [_row(row) for row in rows]))
    else:
        click.echo(f"There is no provider in {path}. Add one: ai-assistant providers add NAME")


def _entries(
    loaded: Loaded, name: str, provider: Provider, records: RecordsFile
) -> list[dict[str, Any]]:
    shared = {"provider": name, "kind": provider.kind, "enabled": provider.enabled,
              "key": _key_state(loaded, name, provider)}  # fmt: skip
    address = provider.address()
    if not provider.models:
        return [{**shared, "place": address.place, "region": provider.region}]
    entries: list[dict[str, Any]] = []
    for model in provider.models:
        offer = make_offer(name, provider, model)
        facts = records.record(f"{name}/{model.id}").facts(clock())
        about = {"model": offer.model, "names": offer.names, "place": offer.place,
                 "region": offer.region, "host": offer.host, "price": offer.price,
                 "continues": offer.continues, "facts": facts}  # fmt: skip
        entries.append({**shared, **about})
    return entries


def _key_state(loaded: Loaded, name: str, provider: Provider) -> str:
    if not provider.key:
        return "none"
    try:
        find_key(name, provider.key, variables(), loaded.file.parent)
    except AssistantError:
        return "MISSING"
    return provider.key.partition(":")[0]


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    facts: WorkerFacts = entry.get("facts") or WorkerFacts()
    price: Price | None = entry.get("price")
    pace = facts.tpot.p50
    return (
        printable(f"{entry['provider']}/{entry.get('model', '-')}"),
        printable(", ".join(entry.get("names", ())) or "-"),
        entry["kind"] if entry["enabled"] else f"{entry['kind']} (off)",
        entry["place"],
        printable(entry["region"] or "-"),
        entry["key"],
        providers_probe.milliseconds(facts.ttft.p50),
        "-" if pace is None else f"{1 / pace:.1f}",
        f"{facts.error_rate:.0%} of {facts.requests}" if facts.requests else "-",
        "unknown" if price is None else f"{price.input:g}/{price.output:g}",
    )


@command.command("test")
@click.argument("names", nargs=-1)
@json_option
@config_option
def test(names: tuple[str, ...], as_json: bool, config_file: Path | None) -> None:
    """Send every model a small request and measure the answer.

    The text is always the same and harmless; the rules decide whether it may leave, and it is in
    the egress log. CONTINUES says whether an answer that breaks off can be finished there.

    \b
    Examples:
      ai-assistant providers test
      ai-assistant providers test openai --json
    """
    loaded = load(config_file)
    found = _chosen(places.providers_file(loaded.file), names)
    probes = asyncio.run(providers_probe.probe_all(loaded, found))
    if as_json:
        click.echo(msgspec.json.encode(probes))
    elif probes:
        click.echo(providers_probe.table(probes))
    else:
        click.echo("No provider has a model. Add one: ai-assistant providers add NAME --model ID")
    if any(one.error is not None for one in probes):
        raise click.exceptions.Exit(1)


def _chosen(path: Path, names: Sequence[str]) -> dict[str, Provider]:
    found = read_providers(path)
    if unknown := next((name for name in names if name not in found), None):
        raise _no_such(unknown)
    return {name: one for name, one in found.items() if not names or name in names}


def _no_such(name: str) -> CommandError:
    return CommandError(
        f"There is no provider {name!r}.", "`ai-assistant providers ls` lists them."
    )


@command.command("rm")
@click.argument("name")
@json_option
@config_option
def rm(name: str, as_json: bool, config_file: Path | None) -> None:
    """Take a provider out, and its key out of the key store.

    \b
    Examples:
      ai-assistant providers rm openai
    """
    removed = remove_provider(places.providers_file(load(config_file).file), name)
    if removed is None:
        raise _no_such(name)
    if removed.key == "keyring":
        forget_key(name)
    if as_json:
        click.echo(msgspec.json.encode({"removed": name}))
    else:
        click.echo(f"Removed {name}. {_NEXT}")


@command.command("import")
@click.argument("format_", metavar="FORMAT", type=click.Choice(["litellm"]))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--dry-run", is_flag=True, help="Only say what would be taken over.")
@json_option
@config_option
def import_(
    format_: str, file: Path, dry_run: bool, as_json: bool, config_file: Path | None
) -> None:
    """Take over the models of another gateway's settings; FORMAT is litellm.

    What cannot be taken over is named, line by line.

    \b
    Examples:
      ai-assistant providers import litellm config.yaml
      ai-assistant providers import litellm config.yaml --dry-run
    """
    path = places.providers_file(load(config_file).file)
    found = read_litellm(file, frozenset(read_providers(path)))
    if not dry_run:
        put_providers(path, found.providers)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for name, provider in found.providers.items():
        models = ", ".join(f"{m.id} as {' and '.join(m.names)}" for m in provider.models)
        click.echo(printable(f"{name} ({provider.kind}): {models}"))
    for line in found.left_out:
        click.echo(printable(f"Not taken over: {line}"), err=True)
    what = "would be taken over" if dry_run else f"are in {path}. {_NEXT}"
    click.echo(f"{len(found.providers)} providers {what}")
