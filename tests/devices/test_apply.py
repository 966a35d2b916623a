"""Settings of the system: planned, noted, written, read again, put back."""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.fake_root import FakeRoot

from ai_assistant.devices import apply as applying
from ai_assistant.devices.apply import by_hand, close, plan_steps, restore, same
from ai_assistant.devices.apply_journal import (
    DamagedJournal,
    Entry,
    Holder,
    Journal,
    Step,
    is_held,
)
from ai_assistant.devices.judge import Change

SWAP = "/proc/sys/vm/swappiness"
HUGE = "/sys/kernel/mm/transparent_hugepage/enabled"
GOVERNOR = "/sys/devices/system/cpu/cpufreq/policy{}/scaling_governor"
BOOT = "/proc/sys/kernel/random/boot_id"
CHANGES = (
    Change(path=SWAP, value="10"),
    Change(path=HUGE, value="madvise"),
    Change(path=GOVERNOR.format("*"), value="performance"),
)


@pytest.fixture
def machine(tmp_path: Path) -> FakeRoot:
    files = {
        SWAP: "60\n",
        HUGE: "always madvise [never]\n",
        GOVERNOR.format(0): "powersave\n",
        GOVERNOR.format(1): "powersave\n",
        BOOT: "first\n",
    }
    return FakeRoot(tmp_path / "root", files)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "data" / "changes.json")


def apply_all(machine: FakeRoot, journal: Journal, *, held: bool = False):
    return applying.apply(machine, plan_steps(machine, CHANGES), journal, held=held)


def test_a_plan_names_every_file_with_what_it_is_and_what_it_will_be(machine: FakeRoot):
    steps = plan_steps(machine, (*CHANGES, Change(path="/proc/sys/vm/none", value="1")))
    assert [(one.path, one.before, one.after) for one in steps] == [
        (SWAP, "60", "10"),
        (HUGE, "never", "madvise"),
        (GOVERNOR.format(0), "powersave", "performance"),
        (GOVERNOR.format(1), "powersave", "performance"),
    ]
    assert machine.written == []


def test_what_is_set_is_read_again_and_put_back(machine: FakeRoot, journal: Journal):
    outcomes = apply_all(machine, journal)
    assert {one.result for one in outcomes} == {"set"}
    assert machine.read(SWAP) == "10"
    assert machine.read(HUGE) == "always [madvise] never"
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert plan_steps(machine, CHANGES) == ()
    assert {one.result for one in restore(machine, journal)} == {"restored"}
    assert machine.read(SWAP) == "60"
    assert machine.read(HUGE) == "always madvise [never]"
    assert not journal.path.exists()


def test_nothing_is_written_before_the_journal_is(machine: FakeRoot, tmp_path: Path):
    blocked = Journal(tmp_path / "root" / SWAP.lstrip("/") / "changes.json")  # below a file
    with pytest.raises(OSError, match="irectory"):
        apply_all(machine, blocked)
    assert machine.written == []


@pytest.mark.parametrize("at", [SWAP, HUGE, GOVERNOR.format(0), GOVERNOR.format(1)])
def test_a_crash_on_the_way_leaves_enough_to_put_everything_back(
    machine: FakeRoot, journal: Journal, at: str
):
    machine.die_at = at
    with pytest.raises(KeyboardInterrupt):
        apply_all(machine, journal, held=True)
    machine.die_at = None
    assert all(one.ok for one in restore(machine, journal))
    assert (machine.read(SWAP), machine.read(GOVERNOR.format(1))) == ("60", "powersave")
    assert machine.read(HUGE) == "always madvise [never]"
    assert not journal.path.exists()


def test_what_the_system_refuses_is_told_and_not_noted(machine: FakeRoot, journal: Journal):
    machine.refuse, machine.ignore = {SWAP}, {GOVERNOR.format(0)}
    results = {one.step.path: one for one in apply_all(machine, journal)}
    assert results[SWAP].result == "refused"
    assert results[SWAP].reason == "Permission denied"
    assert results[GOVERNOR.format(0)].result == "ignored"
    noted = journal.read()
    assert noted is not None
    assert {step.path for step in noted.steps} == {HUGE, GOVERNOR.format(1)}


def test_without_any_rights_nothing_is_noted(machine: FakeRoot, journal: Journal):
    machine.refuse = {SWAP, HUGE, GOVERNOR.format(0), GOVERNOR.format(1)}
    assert not any(one.ok for one in apply_all(machine, journal))
    assert not journal.path.exists()


def test_changed_twice_a_setting_goes_back_to_the_first_value(machine: FakeRoot, journal: Journal):
    apply_all(machine, journal)
    again = (Change(path=SWAP, value="1"),)
    applying.apply(machine, plan_steps(machine, again), journal, held=False)
    assert machine.read(SWAP) == "1"
    restore(machine, journal)
    assert machine.read(SWAP) == "60"


def test_a_crash_before_the_second_value_still_goes_back(machine: FakeRoot, journal: Journal):
    apply_all(machine, journal)
    machine.die_at = SWAP
    again = plan_steps(machine, (Change(path=SWAP, value="1"),))
    with pytest.raises(KeyboardInterrupt):
        applying.apply(machine, again, journal, held=False)
    machine.die_at = None
    restore(machine, journal)
    assert machine.read(SWAP) == "60"


def test_what_somebody_else_has_set_since_is_left(machine: FakeRoot, journal: Journal):
    apply_all(machine, journal)
    machine.write(SWAP, "100")
    results = {one.step.path: one.result for one in restore(machine, journal)}
    assert results[SWAP] == "foreign"
    assert machine.read(SWAP) == "100"
    assert not journal.path.exists()


def test_what_could_not_be_put_back_stays_noted(machine: FakeRoot, journal: Journal):
    apply_all(machine, journal)
    machine.refuse = {SWAP}
    assert not all(one.ok for one in restore(machine, journal))
    noted = journal.read()
    assert noted is not None
    assert [step.path for step in noted.steps] == [SWAP]
    machine.refuse = set()
    restore(machine, journal)
    assert machine.read(SWAP) == "60"


def test_after_a_start_of_the_system_nothing_is_put_back(machine: FakeRoot, journal: Journal):
    apply_all(machine, journal)
    (machine.root / BOOT.lstrip("/")).write_text("second")
    machine.write(SWAP, "30")  # what the system starts with now
    assert {one.result for one in restore(machine, journal)} == {"gone"}
    assert machine.read(SWAP) == "30"
    assert not journal.path.exists()


def test_a_damaged_journal_is_named_and_nothing_is_changed(machine: FakeRoot, journal: Journal):
    journal.path.parent.mkdir()
    journal.path.write_bytes(b'{"at": "2026')
    with pytest.raises(DamagedJournal, match=r"changes\.json"):
        apply_all(machine, journal)
    with pytest.raises(DamagedJournal):
        restore(machine, journal)
    assert machine.written == []


def test_changes_of_a_living_node_are_its_own(machine: FakeRoot, journal: Journal):
    apply_all(machine, journal, held=True)
    mine = journal.read()
    assert mine is not None
    assert mine.holder is not None
    assert mine.holder.pid == os.getpid()
    assert not is_held(mine)  # by us
    other = Holder(pid=1, started=mine.holder.started)
    assert not is_held(msgspec.structs.replace(mine, holder=other))  # process 1 is older
    assert not is_held(Entry(at="", boot=None, steps=mine.steps))


@pytest.mark.parametrize(
    ("path", "value", "command"),
    [
        (SWAP, "10", f"echo 10 | sudo tee {SWAP}"),
        ("nvml:1/power_limit", "250", "sudo nvidia-smi -i 1 -pl 250"),
    ],
)
def test_the_command_for_an_owner_with_more_rights(path: str, value: str, command: str):
    assert by_hand(Step(path=path, before="1", after=value)) == command


def test_a_setting_that_is_not_there_is_not_made(machine: FakeRoot):
    with pytest.raises(FileNotFoundError):
        machine.write("/proc/sys/vm/none", "1")
    assert not (machine.root / "proc/sys/vm/none").exists()


@given(st.text(max_size=12), st.text(max_size=12))
def test_sameness_has_no_order_and_never_fails(one: str, other: str):
    assert same(one, other) == same(other, one)
    assert close(one, other) == close(other, one)
    assert same(one, one)
    assert close(one, other) or not same(one, other)


def test_hardware_may_round_what_it_is_told(machine: FakeRoot, journal: Journal):
    assert close("45000000", "44921875")
    assert not same("500", "501")
    assert not close("60", "10")
    machine.round = True
    changes = (Change(path=SWAP, value="1000"),)
    (done,) = applying.apply(machine, plan_steps(machine, changes), journal, held=False)
    assert done.result == "set"
    assert machine.read(SWAP) == "1001"
    machine.round = False
    assert [one.result for one in restore(machine, journal)] == ["restored"]
    assert machine.read(SWAP) == "60"
