"""`ai-assistant cache`: what is kept of conversations on disk, and prompts that always are."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.cli.output import columns, duration, printable, size
from ai_assistant.config import places
from ai_assistant.devices.facts import read_disk
from ai_assistant.devices.keep import GIGABYTE, Place, disk_bytes
from ai_assistant.devices.settings import CacheSettings
from ai_assistant.kvcache.cold import shelf
from ai_assistant.protocol.engine_plan import Pin
from ai_assistant.store import pins as pins_file

_NEXT_LOAD = "It takes effect when a model is loaded next."
_DAY = 86_400


class _Cache(NamedTuple):
    """The folder and what was set about it."""

    folder: Path
    settings: CacheSettings


def _cache(config_file: Path | None) -> _Cache:
    settings = load(config_file).settings
    return _Cache(places.cache_dir(settings), settings.cache)


@click.group("cache")
def command() -> None:
    """Show and clear the KV cache on disk, and pin prompts.

    What models computed for conversations is kept on disk, so that a next turn starts soon, also
    after a restart. It can be deleted at any time; it is then computed again.

    \b
    Examples:
      ai-assistant cache stat
      ai-assistant cache purge --older-than 30
      ai-assistant cache pin support --file prompt.txt
    """


@command.command("stat")
@json_option
@config_option
def stat(as_json: bool, config_file: Path | None) -> None:
    """Show how much is kept, against the limits.

    \b
    Examples:
      ai-assistant cache stat
      ai-assistant cache stat --json
    """
    cache = _cache(config_file)
    found = shelf.status(cache.folder)
    cap = _cap(cache, found.bytes)
    per_day = int(cache.settings.daily_write_gb * GIGABYTE)
    if as_json:
        figures = msgspec.structs.asdict(found)
        limits = {"enabled": cache.settings.disk, "cap_bytes": cap, "daily_cap_bytes": per_day}
        click.echo(msgspec.json.encode(figures | limits))
        return
    pinned = len(pins_file.read_pins(cache.folder))
    automatic = "" if cache.settings.disk_gb else ", a share of what is free"
    refused = f"{found.quarantined} files, {size(found.quarantined_bytes)}"
    click.echo(f"Folder: {cache.folder}{'' if cache.settings.disk else ' (turned off)'}\n")
    rows = [
        ("kept", f"{size(found.bytes)} of {size(cap)}{automatic}"),
        ("blocks", f"{found.blocks} of {_models(len(found.models))}"),
        ("written today", f"{size(found.written_today)} of {size(per_day)}"),
        ("refused", refused if found.quarantined else "none"),
        ("pinned prompts", str(pinned)),
    ]
    click.echo(columns(("what", "how much"), rows))
    if found.models:
        click.echo(f"\n{_table(found.models)}")


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"


def _cap(cache: _Cache, used: int) -> int:
    """Bytes that all models may have, as the node decides it."""
    place = Place(str(cache.folder), used=used, free=read_disk(cache.folder).free)
    return disk_bytes(cache.settings, place)


@command.command("ls")
@json_option
@config_option
def ls(as_json: bool, config_file: Path | None) -> None:
    """List the models of which something is kept.

    Blocks of models that were changed or deleted stay until room is needed; purge them by their
    fingerprint.

    \b
    Examples:
      ai-assistant cache ls
      ai-assistant cache ls --json
    """
    cache = _cache(config_file)
    found = shelf.model_shelves(cache.folder)
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif found:
        click.echo(_table(found))
    else:
        click.echo(f"Nothing is kept in {cache.folder}.")


def _table(models: list[shelf.ModelShelf]) -> str:
    head = ("model", "fingerprint", "KV type", "blocks", "size", "tokens", "pinned", "last used")
    return columns(head, [_row(one) for one in models])


def _row(one: shelf.ModelShelf) -> tuple[str, ...]:
    return (
        _name(one),
        one.fingerprint[:12],
        printable(one.about.get("kv_type", "-")),
        str(one.blocks),
        size(one.bytes),
        f"{one.tokens:,}",
        str(one.pinned) if one.pinned else "-",
        f"{duration(max(0.0, time.time() - one.used))} ago",
    )


def _name(one: shelf.ModelShelf) -> str:
    path = Path(one.about.get("path", ""))
    return printable(one.about.get("model") or path.stem or "unknown")


@command.command("purge")
@click.option(
    "--model", "-m", metavar="NAME", help="Only of this model: name, file or fingerprint."
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Only what was not used for so long and is not pinned.",
)
@click.option("--quarantine", is_flag=True, help="Only the damaged files that were set aside.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
def purge(
    model: str | None,
    older_than: float | None,
    quarantine: bool,
    yes: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Delete what is kept on disk; it is computed again when it is needed.

    A node may run meanwhile.

    \b
    Examples:
      ai-assistant cache purge --yes
      ai-assistant cache purge --model starter
      ai-assistant cache purge --older-than 30 --yes
      ai-assistant cache purge --quarantine --yes
    """
    folder = _cache(config_file).folder
    if quarantine and (model or older_than is not None):
        raise click.UsageError("--quarantine goes alone: those files are of no model.")
    act = _purging(folder, model, older_than, quarantine)
    if not yes:
        click.confirm(f"Delete {_meant(model, older_than, quarantine)} in {folder}?", abort=True)
    removed = act()
    if as_json:
        click.echo(msgspec.json.encode(removed))
    else:
        click.echo(f"{removed.files} files with {size(removed.bytes)} are deleted.")


def _purging(
    folder: Path, model: str | None, older_than: float | None, quarantine: bool
) -> Callable[[], shelf.Removed]:
    if quarantine:
        return lambda: shelf.purge_quarantine(folder)
    found = shelf.model_shelves(folder)
    chosen = [one.fingerprint for one in found if model is None or _is_called(one, model)]
    if model is not None and not chosen:
        raise CommandError(
            f"Nothing is kept of a model {model!r}.", "`ai-assistant cache ls` lists them."
        )
    seconds = None if older_than is None else older_than * _DAY
    return lambda: shelf.purge(folder, chosen, unused_seconds=seconds)


def _is_called(one: shelf.ModelShelf, name: str) -> bool:
    path = Path(one.about.get("path", ""))
    known = {one.about.get("model"), str(path), path.name, path.stem}
    return name in known or (len(name) >= 4 and one.fingerprint.startswith(name))


def _meant(model: str | None, older_than: float | None, quarantine: bool) -> str:
    if quarantine:
        return "the damaged files"
    whose = f" of {model}" if model else ""
    age = "" if older_than is None else f" unused for {older_than:g} days"
    return f"all blocks{whose}{age}"


@command.command("pin")
@click.argument("name")
@click.option("--system", metavar="TEXT", help="The system prompt.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="File with the system prompt.",
)
@json_option
@config_option
def pin(
    name: str, system: str | None, file: Path | None, as_json: bool, config_file: Path | None
) -> None:
    """Have a system prompt computed before any model says that it is ready.

    What is computed for it is never given up. NAME, of a to z, 0 to 9 and hyphens, is for
    `unpin`; a pin of that name is replaced.

    \b
    Examples:
      ai-assistant cache pin support --file prompt.txt
      ai-assistant cache pin brief --system "Answer in one sentence."
    """
    if (system is None) == (file is None):
        raise click.UsageError("Give either --system or --file.")
    text = _text_of(file) if file else system or ""
    if not text.strip():
        raise click.UsageError("The system prompt is empty.")
    folder = _cache(config_file).folder
    others = [one for one in pins_file.read_pins(folder) if one.name != name]
    pins_file.write_pins(folder, [*others, Pin(name=name, system=text)])
    if as_json:
        click.echo(msgspec.json.encode({"pinned": name, "characters": len(text)}))
    else:
        click.echo(f"Pinned {name}, {len(text):,} characters. {_NEXT_LOAD}")


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not text in UTF-8.", "Save it as UTF-8.") from error


@command.command("unpin")
@click.argument("name")
@json_option
@config_option
def unpin(name: str, as_json: bool, config_file: Path | None) -> None:
    """No longer have a system prompt computed beforehand.

    \b
    Examples:
      ai-assistant cache unpin support
    """
    folder = _cache(config_file).folder
    known = pins_file.read_pins(folder)
    others = [one for one in known if one.name != name]
    if len(others) == len(known):
        raise CommandError(f"There is no pin {name!r}.", "`ai-assistant cache pins` lists them.")
    pins_file.write_pins(folder, others)
    if as_json:
        click.echo(msgspec.json.encode({"unpinned": name}))
    else:
        click.echo(f"Unpinned {name}. {_NEXT_LOAD}")


@command.command("pins")
@json_option
@config_option
def pins(as_json: bool, config_file: Path | None) -> None:
    """List the pinned system prompts.

    \b
    Examples:
      ai-assistant cache pins
      ai-assistant cache pins --json
    """
    folder = _cache(config_file).folder
    known = pins_file.read_pins(folder)
    if as_json:
        click.echo(msgspec.json.encode(known))
        return
    if not known:
        click.echo("There is no pin. Make one with: ai-assistant cache pin NAME --file FILE")
        return
    rows = [(one.name, f"{len(one.system):,}", _beginning(one.system)) for one in known]
    click.echo(columns(("name", "characters", "begins with"), rows))


def _beginning(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= 60 else f"{line[:59]}…"
