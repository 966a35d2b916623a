"""`doctor --apply` and `--restore`, on a machine in a folder; then the real one, harmlessly."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke
from tests.fakes.fake_root import FakeRoot

from ai_assistant.cli import doctor_changes
from ai_assistant.devices import apply as applying
from ai_assistant.devices.apply import plan_steps, value_of
from ai_assistant.devices.apply_journal import doctor_journal, power_journal
from ai_assistant.devices.apply_port import WritableMachine
from ai_assistant.devices.judge import Change

SWAP = "/proc/sys/vm/swappiness"
HUGE = "/sys/kernel/mm/transparent_hugepage/enabled"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRoot:
    files = {
        "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Old\nflags\t: sse4_2\n",
        "/proc/meminfo": "MemTotal: 8000000 kB\nMemFree: 4000000 kB\nMemAvailable: 4000000 kB\n",
        "/proc/swaps": "Filename Type Size Used Priority\n/dev/sda3 partition 8388604 0 -2\n",
        "/proc/pressure/memory": "some avg10=0.00\n",
        SWAP: "60\n",
        HUGE: "always madvise [never]\n",
    }
    fake = FakeRoot(tmp_path / "root", files)
    monkeypatch.setattr(doctor_changes, "this_machine", lambda: fake)
    return fake


def data(home: Path) -> Path:
    return home / "data" / "ai-assistant"


def test_a_dry_run_shows_every_change_and_makes_none(machine: FakeRoot, invoke: Invoke, home: Path):
    result = invoke("doctor", "--apply", "--dry-run")
    assert result.exit_code == 0
    assert f"{SWAP}: 60 → 10" in result.output
    assert f"{HUGE}: never → madvise" in result.output
    assert "Nothing was changed." in result.output
    assert machine.written == []
    assert not data(home).exists()


def test_apply_and_restore(machine: FakeRoot, invoke: Invoke, home: Path):
    result = invoke("doctor", "--apply")
    assert result.exit_code == 0
    assert f"set: {SWAP}" in result.output
    assert machine.read(SWAP) == "10"
    assert "nothing to set" in invoke("doctor", "--apply").output
    assert f"{SWAP}: 10 → 60" in invoke("doctor", "--restore", "--dry-run").output
    assert machine.read(SWAP) == "10"
    assert invoke("doctor", "--restore").exit_code == 0
    assert (machine.read(SWAP), machine.read(HUGE)) == ("60", "always madvise [never]")
    assert "nothing to put back" in invoke("doctor", "--restore").output
    assert list(data(home).iterdir()) == []


def test_without_rights_the_command_is_printed(machine: FakeRoot, invoke: Invoke, home: Path):
    machine.refuse = {SWAP}
    result = invoke("doctor", "--apply")
    assert result.exit_code == 1
    assert f"refused: {SWAP} (Permission denied)" in result.output
    assert f"echo 10 | sudo tee {SWAP}" in result.output
    assert machine.read(HUGE) == "always [madvise] never"
    noted = doctor_journal(data(home)).read()
    assert noted is not None
    assert [step.path for step in noted.steps] == [HUGE]


def test_what_a_dead_node_left_is_put_back(machine: FakeRoot, invoke: Invoke, home: Path):
    steps = plan_steps(machine, (Change(path=SWAP, value="1"),))
    applying.apply(machine, steps, power_journal(data(home)), held=False)
    assert invoke("doctor", "--restore").exit_code == 0
    assert machine.read(SWAP) == "60"


def test_as_json(machine: FakeRoot, invoke: Invoke):
    machine.refuse = {SWAP}
    planned = json.loads(invoke("doctor", "--apply", "--dry-run", "--json").output)
    assert {one["path"] for one in planned} == {SWAP, HUGE}
    done = {one["path"]: one for one in json.loads(invoke("doctor", "--apply", "--json").output)}
    assert done[SWAP]["result"] == "refused"
    assert done[SWAP]["command"].startswith("echo 10 | sudo tee")
    assert done[HUGE]["result"] == "set"


def test_a_damaged_journal_is_told(machine: FakeRoot, invoke: Invoke, home: Path):
    data(home).mkdir(parents=True)
    doctor_journal(data(home)).path.write_bytes(b"\xff{")
    result = invoke("doctor", "--restore")
    assert result.exit_code == 1
    assert "is damaged" in result.output
    assert machine.written == []


@pytest.mark.parametrize("wrong", [("--dry-run",), ("--apply", "--restore")])
def test_flags_that_mean_nothing_together_are_refused(invoke: Invoke, wrong: tuple[str, ...]):
    assert invoke("doctor", *wrong).exit_code == 2


def test_on_this_machine(invoke: Invoke, home: Path):
    """A real setting of the kernel, where this process may write it: one step and back."""
    machine = WritableMachine()
    path = "/proc/sys/vm/dirty_writeback_centisecs"  # how often old writes are looked for
    before = value_of(machine, path)
    if before is None:
        assert not Path(path).exists()
        pytest.skip("no such setting here")
    steps = plan_steps(machine, (Change(path=path, value=str(int(before) + 1)),))
    (done,) = applying.apply(machine, steps, doctor_journal(data(home)), held=False)
    if done.result == "refused":
        assert not doctor_journal(data(home)).path.exists()
        pytest.skip(f"no rights here: {done.reason}")
    try:
        assert value_of(machine, path) == str(int(before) + 1)
    finally:
        assert invoke("doctor", "--restore").exit_code == 0
    assert value_of(machine, path) == before
