"""`doctor --apply` and `--restore`: shows what would be set, sets it, says what came of it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from ai_assistant.cli.errors import CommandError
from ai_assistant.devices import apply as applying
from ai_assistant.devices import stored
from ai_assistant.devices.apply import Outcome, Result, by_hand, plan_steps
from ai_assistant.devices.apply_journal import (
    DamagedJournal,
    Journal,
    Step,
    doctor_journal,
    is_held,
    power_journal,
)
from ai_assistant.devices.apply_port import Machine, WritableMachine
from ai_assistant.devices.judge import judge
from ai_assistant.devices.probe import probe

Answer = TypeVar("Answer")
_WORDS: dict[Result, tuple[str, str]] = {
    "set": ("set", "green"),
    "restored": ("put back", "green"),
    "same": ("was so already", "green"),
    "gone": ("gone since the system started anew", "green"),
    "foreign": ("left", "yellow"),
    "refused": ("refused", "red"),
    "ignored": ("had no effect", "red"),
    "unknown": ("unknown", "red"),
}


def this_machine() -> Machine:
    """The one that is changed."""
    return WritableMachine()


def apply(data: Path, *, dry: bool, as_json: bool) -> None:
    """Set what the findings advise. Raises `Exit(1)` if something could not be set."""
    machine = this_machine()
    steps = _advised(machine, data, silent=as_json)
    if dry or not steps:
        _end_dry(steps, as_json, "There is nothing to set.")
        return
    journal = doctor_journal(data)
    outcomes = _translated(lambda: applying.apply(machine, steps, journal, held=False))
    _report(outcomes, as_json)
    if not as_json and any(one.ok for one in outcomes):
        click.echo("\nPut it back with `ai-assistant doctor --restore`; a restart does so too.")
    _end(outcomes)


def restore(data: Path, *, dry: bool, as_json: bool) -> None:
    """Put back what `--apply` set, and what a node set that died before it could put it back.

    Raises `Exit(1)` if something could not be put back."""
    machine = this_machine()
    journals = [one for one in (power_journal(data), doctor_journal(data)) if _is_ours(one)]
    entries = [entry for one in journals if (entry := _translated(one.read))]
    back = tuple(
        Step(path=one.path, before=one.after, after=one.before)
        for entry in entries
        for one in reversed(entry.steps)
    )
    if dry or not back:
        if not as_json:
            _show(back)
        _end_dry(back, as_json, "There is nothing to put back.")
        return
    outcomes = [one for journal in journals for one in _restored(machine, journal)]
    _report(outcomes, as_json)
    _end(outcomes)


def _advised(machine: Machine, data: Path, *, silent: bool) -> tuple[Step, ...]:
    """The steps of all findings; each is shown."""
    steps: list[Step] = []
    profile = probe(machine, (str(data),), now=stored.utc_now(), with_kernels=False)
    for finding in judge(profile):
        found = plan_steps(machine, finding.changes)
        if found and not silent:
            click.echo(f"{finding.name}: {finding.found}")
            click.echo(f"  {finding.meaning}")
            _show(found, indent="  ")
        steps += found
    return tuple(steps)


def _is_ours(journal: Journal) -> bool:
    """Whether nobody else will put these settings back."""
    entry = _translated(journal.read)
    if entry is None or not is_held(entry) or entry.holder is None:
        return True
    click.echo(
        f"A node (process {entry.holder.pid}) holds settings of the system and puts them back "
        "itself: when it ends, or with `ai-assistant power max`.",
        err=True,
    )
    return False


def _restored(machine: Machine, journal: Journal) -> applying.Outcomes:
    return _translated(lambda: applying.restore(machine, journal))


def _show(steps: Iterable[Step], indent: str = "") -> None:
    for step in steps:
        click.echo(f"{indent}{step.path}: {step.before} → {step.after}")


def _report(outcomes: Iterable[Outcome], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode([*map(_object, outcomes)]))
        return
    for one in outcomes:
        for line in _lines(one):
            click.echo(line)


def _object(one: Outcome) -> dict[str, str]:
    step = {"path": one.step.path, "before": one.step.before, "after": one.step.after}
    told = {**step, "result": one.result, "reason": one.reason}
    return told if one.ok else {**told, "command": by_hand(one.step)}


def _lines(one: Outcome) -> Iterator[str]:
    words, colour = _WORDS[one.result]
    reason = f" ({one.reason})" if one.reason else ""
    yield f"{click.style(words, fg=colour)}: {one.step.path}{reason}"
    if one.result in ("refused", "unknown"):
        yield f"  {click.style('Next:', fg='cyan')} {by_hand(one.step)}"


def _end_dry(steps: tuple[Step, ...], as_json: bool, nothing: str) -> None:
    if as_json:
        click.echo(msgspec.json.encode(steps))
    else:
        click.echo("\nNothing was changed." if steps else nothing)


def _end(outcomes: Iterable[Outcome]) -> None:
    if any(one.result in ("refused", "ignored", "unknown") for one in outcomes):
        raise click.exceptions.Exit(1)


def _translated(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except DamagedJournal as error:
        raise CommandError(
            f"{error} is damaged: what was changed of the system is not known any more.",
            "A restart of the machine puts all such settings back; then delete the file.",
        ) from error
