"""`ai-assistant devices`: what this machine has and how fast it is."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from ai_assistant.cli import devices_table
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.config import places
from ai_assistant.devices import stored
from ai_assistant.devices.child import ask_kernels, ask_speed
from ai_assistant.devices.measure import SECONDS, Tell, measure
from ai_assistant.devices.measure.polite import step_back
from ai_assistant.devices.probe import probe
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.recording import Recorder
from ai_assistant.devices.source import ThisMachine

_HEADING = """Recorded by `ai-assistant devices --record`: what the command read of this machine.
It holds paths, names of devices and of file servers, no addresses and no serial numbers.
Look before you send it."""


@click.command("devices")
@click.option("--measure", "measured", is_flag=True, help="Measure how fast everything is.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write what was read of this machine to a file, for a bug report.",
)
@json_option
@config_option
def command(measured: bool, record: Path | None, as_json: bool, config_file: Path | None) -> None:
    """Show what this machine has, and measure how fast it is.

    Measuring takes less than 20 seconds, at low priority; it waits a little while other programs
    are busy, and Ctrl-C ends it. The result is kept in the data folder and used to lay models
    over this machine, until the hardware changes.

    \b
    Examples:
      ai-assistant devices
      ai-assistant devices --measure
      ai-assistant devices --json
      ai-assistant devices --record machine.txt
    """
    settings = load(config_file).settings
    data = places.data_dir(settings)
    folders = places.disk_folders(settings)
    source = ThisMachine(ask_kernels)
    if measured:  # The disk is measured where the data will be.
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if record:
        _record(source, folders, record)
        return
    profile = stored.current(source, folders, data)
    if measured:
        profile = _measured(profile, quiet=as_json)
        stored.save(data, profile)
    if as_json:
        click.echo(msgspec.json.encode(profile))
    else:
        click.echo(devices_table.page(profile))


def _record(source: ThisMachine, folders: tuple[str, ...], file: Path) -> None:
    recorder = Recorder(source)
    probe(recorder, folders, now=stored.utc_now())
    file.write_text(recorder.text(_HEADING), encoding="utf-8")
    click.echo(f"Wrote {file}.")


def _measured(profile: Profile, *, quiet: bool) -> Profile:
    step_back()
    with _progress(quiet=quiet) as tell:
        return measure(profile, ask_speed, now=stored.utc_now(), tell=tell)


@contextmanager
def _progress(*, quiet: bool) -> Generator[Tell]:
    """A bar on standard error, gone at the end."""
    if quiet:
        yield lambda _name, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    look = (TextColumn("Measuring {task.description}"), BarColumn(30), TimeElapsedColumn())
    with Progress(*look, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        tell: Callable[[str, float], None] = lambda name, share: bar.update(  # noqa: E731
            task, description=name, completed=share
        )
        click.echo(f"Less than {SECONDS + 3:.0f} seconds; Ctrl-C ends it.", err=True)
        yield tell
