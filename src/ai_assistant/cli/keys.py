"""`ai-assistant keys`: who may use the node, what they may use, and how much of it."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click
import msgspec

from ai_assistant.cli import keys_table
from ai_assistant.cli.errors import CommandError, WrongUse
from ai_assistant.cli.keys_values import (
    put_on_group,
    put_on_key,
    read_span,
    read_values,
    value_options,
)
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.gateway.access.calendar import day_of, month_of
from ai_assistant.gateway.key_names import difference
from ai_assistant.gateway.key_options import check_option
from ai_assistant.gateway.keys import caller_of_key, read_key
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.store.key_usage import Used, read_usage
from ai_assistant.store.keys import Group, KeyBook, StoredKey, Who, make_secret, rotated
from ai_assistant.store.keys_file import change_keys, read_keys

_GROUPS = ("user", "team")


@click.group("keys")
def command() -> None:
    """Make API keys, and say what each may use.

    Only a hash of a key is kept; the key itself is shown once. A running node takes up every
    change within a second. What is counted is kept over restarts.

    \b
    Examples:
      ai-assistant keys add alice --team research --requests-per-minute 60
      ai-assistant keys set team:research --dollars-per-day 5
      ai-assistant keys ls
    """


@command.command("add")
@click.argument("name")
@value_options
@json_option
@config_option
def add(name: str, as_json: bool, config_file: Path | None, **given: str | None) -> None:
    """Make a key and show it, once.

    NAME is the tenant: what its prompts leave in the cache, its conversations and its jobs are
    found by this name only.

    \b
    Examples:
      ai-assistant keys add alice
      ai-assistant keys add ci --class batch --concurrency 2 --expires 90d
      ai-assistant keys add shop --models 'starter,gpt*' --dollars-per-day 2 --regions eu
      ai-assistant keys add support --labels customer-data --tokens-per-minute 100000
    """
    loaded = load(config_file)
    path = places.keys_file(loaded.file)
    _check_name(name)
    text, secret = make_secret()
    new = StoredKey(name=name, secrets=(secret,), created=time.time())
    new = put_on_key(new, read_values(given))

    def change(book: KeyBook) -> KeyBook:
        if book.key(name):
            raise CommandError(
                f"There is a key {name!r} already.",
                f"`ai-assistant keys rotate {name}` makes a new secret, `keys set` other values.",
            )
        _check_beside(new, loaded.settings)
        return book.with_key(new)

    book = _changed(path, change)
    first = len(book.keys) == 1 and not loaded.settings.server.api_keys
    _show_secret(new, text, path, as_json=as_json, first=first)


@command.command("ls")
@json_option
@config_option
def list_keys(as_json: bool, config_file: Path | None) -> None:
    """List the keys, their limits and what they used today.

    \b
    Examples:
      ai-assistant keys ls
      ai-assistant keys ls --json
    """
    loaded = load(config_file)
    book, now = read_keys(places.keys_file(loaded.file)), time.time()
    used = _used(loaded.settings, now)
    if as_json:
        found = {
            "keys": [keys_table.shown(one, used, now) for one in book.keys],
            "groups": [keys_table.shown(one, used, now) for one in book.groups],
        }
        click.echo(json.dumps(found))
    elif book.keys or book.groups:
        click.echo(keys_table.table(book, used, now))
    else:
        click.echo("There are no keys yet. Make one: ai-assistant keys add NAME")


@command.command("show")
@click.argument("name")
@json_option
@config_option
def show(name: str, as_json: bool, config_file: Path | None) -> None:
    """Show one key, or one user or team, and what it used today and this month.

    \b
    Examples:
      ai-assistant keys show alice
      ai-assistant keys show team:research --json
    """
    loaded = load(config_file)
    book, now = read_keys(places.keys_file(loaded.file)), time.time()
    one = _group(book, name) if _is_group(name) else _key(book, name)
    used = _used(loaded.settings, now)
    if as_json:
        click.echo(json.dumps(keys_table.shown(one, used, now)))
    else:
        click.echo(keys_table.details(one, used, now))


@command.command("set")
@click.argument("name")
@value_options
@click.option("--on/--off", "enabled", default=None, help="Whether the key opens anything.")
@json_option
@config_option
def set_values(
    name: str,
    enabled: bool | None,
    as_json: bool,
    config_file: Path | None,
    **given: str | None,
) -> None:
    """Change what a key may do, or the limits of user:NAME or team:NAME.

    What is not named stays as it is; `none` takes a value away.

    \b
    Examples:
      ai-assistant keys set alice --requests-per-minute 120 --expires none
      ai-assistant keys set user:bob --dollars-per-month 20
      ai-assistant keys set team:research --tokens-per-minute 200000 --concurrency 8
      ai-assistant keys set alice --off
    """
    values = read_values(given)
    if not values and enabled is None:
        raise WrongUse(
            "Nothing is to be changed.", "`ai-assistant keys set --help` shows what can."
        )
    group = _is_group(name)
    if group and enabled is not None:
        raise WrongUse("A user or a team is not switched off; switch off its keys.")

    loaded = load(config_file)

    def change(book: KeyBook) -> KeyBook:
        if group:
            return book.with_group(put_on_group(_group(book, name), values))
        key = put_on_key(_key(book, name), values)
        if values:
            _check_beside(key, loaded.settings)
        return book.with_key(
            key if enabled is None else msgspec.structs.replace(key, enabled=enabled)
        )

    book, now = _changed(places.keys_file(loaded.file), change), time.time()
    one = _group(book, name) if group else _key(book, name)
    used = _used(loaded.settings, now)
    if as_json:
        click.echo(json.dumps(keys_table.shown(one, used, now)))
    else:
        click.echo(keys_table.details(one, used, now))


@command.command("rm")
@click.argument("name")
@json_option
@config_option
def remove(name: str, as_json: bool, config_file: Path | None) -> None:
    """Take a key away, or the limits of user:NAME or team:NAME.

    \b
    Examples:
      ai-assistant keys rm alice
      ai-assistant keys rm team:research
    """

    def change(book: KeyBook) -> KeyBook:
        if not _is_group(name):
            return book.without(_key(book, name).name)
        group = _group(book, name)
        if book.group(group.kind, group.name) is None:
            raise CommandError(f"{name} has no limits.")
        return book.with_group(Group(kind=group.kind, name=group.name))

    _changed(places.keys_file(load(config_file).file), change)
    click.echo(json.dumps({"removed": name}) if as_json else f"{name} is gone.")


@command.command("rotate")
@click.argument("name")
@click.option("--keep-old", metavar="TIME", help="How long the old one stays good, such as 12h.")
@json_option
@config_option
def rotate(name: str, keep_old: str | None, as_json: bool, config_file: Path | None) -> None:
    """Give a key a new secret and show it, once; the old one ends now.

    \b
    Examples:
      ai-assistant keys rotate alice
      ai-assistant keys rotate alice --keep-old 24h
    """
    until = time.time() + read_span(keep_old) if keep_old else None
    text, secret = make_secret()
    path = places.keys_file(load(config_file).file)

    def change(book: KeyBook) -> KeyBook:
        return book.with_key(rotated(_key(book, name), secret, old_until=until))

    book = _changed(path, change)
    _show_secret(_key(book, name), text, path, as_json=as_json, first=False)


def _show_secret(key: StoredKey, text: str, path: Path, *, as_json: bool, first: bool) -> None:
    if as_json:
        click.echo(json.dumps({"name": key.name, "key": text, "file": str(path)}))
        return
    click.echo(f"The key of {key.name}. It is shown this once; {path} keeps only its hash.\n")
    click.echo(f"  {text}\n")
    click.echo("In a client, instead of OpenAI's or Anthropic's key, or for this command:")
    click.echo("  export AI_ASSISTANT_API_KEY=THE-KEY")
    if first:
        click.echo("\nIt is the first one: from now on the node demands a key of everyone.")


def _changed(path: Path, change: Callable[[KeyBook], KeyBook]) -> KeyBook:
    try:
        return change_keys(path, change)
    except OSError as error:
        raise CommandError(f"The keys cannot be written to {path}: {error.strerror}.") from error


def _check_name(name: str) -> None:
    try:
        check_option("name", name)
    except InvalidRequest as error:
        raise WrongUse(error.message) from error


def _check_beside(key: StoredKey, settings: Settings) -> None:
    """A line of the settings of the same name has the same account."""
    for line in settings.server.api_keys:
        given, stored = read_key(line), caller_of_key(key)
        if given.tenant == stored.tenant and (differs := difference(given, stored)):
            raise CommandError(
                f"The settings have a key named {key.name}, and this one would differ in "
                f"{differs}: keys of one name have one account.",
                "Take another name, or change the line in the settings.",
            )


def _is_group(name: str) -> bool:
    return name.partition(":")[0] in _GROUPS and ":" in name


def _group(book: KeyBook, text: str) -> Group:
    kind, _, name = text.partition(":")
    _check_name(name)
    who = cast("Who", kind)
    return book.group(who, name) or Group(kind=who, name=name)


def _key(book: KeyBook, name: str) -> StoredKey:
    found = book.key(name)
    if found is None:
        raise CommandError(
            f"There is no key {name!r}.",
            "`ai-assistant keys ls` lists them; those of a key file are changed there.",
        )
    return found


def _used(settings: Settings, now: float) -> list[Used]:
    path = places.key_usage_file(settings)
    try:
        return read_usage(path, f"{month_of(day_of(now))}-01")
    except sqlite3.Error as error:
        click.echo(f"What was used cannot be read from {path}: {error}.", err=True)
        return []
