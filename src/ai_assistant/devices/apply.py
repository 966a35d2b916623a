"""Sets what a finding advises, and puts it back: shown, noted, written, read again.

A change is planned first (`plan_steps`), so that it can be shown. Nothing is written before the
journal names it. What somebody else has changed since is not touched by restoring.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from ai_assistant.devices.apply_journal import Journal, Step, is_stale
from ai_assistant.devices.apply_port import NVML, Machine
from ai_assistant.devices.judge import Change
from ai_assistant.devices.probe.text import chosen
from ai_assistant.devices.source import Source

Result = Literal["set", "restored", "same", "refused", "ignored", "foreign", "gone", "unknown"]
_CLOSE = 0.02
"""Hardware rounds limits of power to steps of its own."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step."""

    step: Step
    result: Result
    reason: str = ""
    """The system's own words, where it refused."""

    @property
    def ok(self) -> bool:
        """Whether the setting is as it was wanted."""
        return self.result in ("set", "restored", "same", "gone")


Outcomes = tuple[Outcome, ...]


def value_of(source: Source, path: str) -> str | None:
    """A setting as it would be written: the chosen word of `always [madvise] never`."""
    text = source.read(path)
    return None if text is None else chosen(text) or text


def same(one: str, other: str) -> bool:
    """Whether two texts are the same value."""
    first, second = _number(one), _number(other)
    return one.strip() == other.strip() or (first is not None and first == second)


def close(one: str, other: str) -> bool:
    """Whether one may be what the hardware made of the other."""
    first, second = _number(one), _number(other)
    if first is None or second is None:
        return same(one, other)
    return abs(first - second) <= _CLOSE * max(abs(first), abs(second))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def plan_steps(source: Source, changes: Iterable[Change]) -> tuple[Step, ...]:
    """What would be written where; nothing for what is so already or cannot be read."""
    steps: dict[str, Step] = {}
    for change in changes:
        paths = source.find(change.path) if "*" in change.path else (change.path,)
        for path in paths:
            before = value_of(source, path)
            if before is not None and not same(before, change.value):
                steps[path] = Step(path=path, before=before, after=change.value)
    return tuple(steps.values())


def apply(machine: Machine, steps: tuple[Step, ...], journal: Journal, *, held: bool) -> Outcomes:
    """Make these changes, besides those that the journal holds already. Raises `OSError` if the
    journal cannot be written, `DamagedJournal`, and then nothing is changed.

    `held`: this process takes them back when it ends.
    """
    merged = _merged(_noted(journal, machine), steps)
    journal.write(machine, merged, held=held)
    outcomes = tuple(_written(machine, step, step.after, "set") for step in steps)
    # What the system refused is as it was: it need not be put back.
    changed = tuple(step for step in merged if not _is_as_before(machine, step))
    journal.write(machine, changed, held=held)
    return outcomes


def restore(machine: Machine, journal: Journal, paths: Iterable[str] | None = None) -> Outcomes:
    """Put back what the journal names, or only `paths`, the latest first; what could not be put
    back stays noted. Raises `OSError` if the journal cannot be written, `DamagedJournal`."""
    entry = journal.read()
    if entry is None:
        return ()
    if is_stale(entry, machine):
        journal.write(machine, (), held=False)
        return tuple(Outcome(step=step, result="gone") for step in entry.steps)
    wanted = {step.path for step in entry.steps} if paths is None else set(paths)
    outcomes = tuple(_reset(machine, step) for step in reversed(entry.steps) if step.path in wanted)
    failed = {one.step.path for one in outcomes if not one.ok and one.result != "foreign"}
    kept = tuple(one for one in entry.steps if one.path in failed or one.path not in wanted)
    journal.write(machine, kept, held=entry.holder is not None)
    return outcomes


def by_hand(step: Step) -> str:
    """The command that does the same, for an owner who may do more than this process."""
    if step.path.startswith(NVML):
        card = step.path.removeprefix(NVML).partition("/")[0]
        return f"sudo nvidia-smi -i {card} -pl {step.after}"
    return f"echo {step.after} | sudo tee {step.path}"


def _noted(journal: Journal, machine: Machine) -> tuple[Step, ...]:
    entry = journal.read()
    return () if entry is None or is_stale(entry, machine) else entry.steps


def _merged(noted: tuple[Step, ...], steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Changed twice, a setting goes back to what it was at first."""
    found = {step.path: step for step in noted}
    for step in steps:
        if first := found.get(step.path):
            between = (*first.between, first.after)
            step = Step(path=step.path, before=first.before, after=step.after, between=between)
        found[step.path] = step
    return tuple(found.values())


def _is_as_before(machine: Machine, step: Step) -> bool:
    value = value_of(machine, step.path)
    return value is not None and same(value, step.before)


def _reset(machine: Machine, step: Step) -> Outcome:
    now = value_of(machine, step.path)
    if now is None:
        return Outcome(step=step, result="unknown", reason="it cannot be read")
    if same(now, step.before):
        return Outcome(step=step, result="same")
    if not any(close(now, value) for value in (step.after, *step.between)):
        return Outcome(step=step, result="foreign", reason=f"somebody has set it to {now} since")
    return _written(machine, step, step.before, "restored")


def _written(machine: Machine, step: Step, value: str, done: Result) -> Outcome:
    try:
        machine.write(step.path, value)
    except OSError as error:
        return Outcome(step=step, result="refused", reason=error.strerror or str(error))
    now = value_of(machine, step.path)
    if now is None or not close(now, value):
        return Outcome(step=step, result="ignored", reason=f"it still says {now}")
    return Outcome(step=step, result=done)


def failures(outcomes: Outcomes) -> Iterator[Outcome]:
    """Those that are not as they were wanted."""
    return (one for one in outcomes if not one.ok)
