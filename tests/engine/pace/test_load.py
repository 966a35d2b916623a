from pathlib import Path

import pytest

from ai_assistant.engine.pace import load as load_module
from ai_assistant.engine.pace.load import Load, parse_busy_ticks, parse_groups, read_quota

STAT = """\
cpu  {all}
cpu0 {first}
cpu1 {second}
intr 1234 0 0
procs_running 3
"""
PROC = "0::/box/inner\n"


class Host:
    """Files of a machine with two cores, and a process whose own time is told."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.own = 0.0
        monkeypatch.setattr(load_module, "_allowed_cores", lambda: [0, 1])
        self.stat(0, 0)
        self.load = Load(root, lambda: self.own)

    def stat(self, first: int, second: int, steal: int = 0) -> None:
        """Busy ticks of both cores so far."""
        rows = [f"{n} 0 0 5000 100 0 0 {steal} 7 0" for n in (first, second)]
        self.write("proc/stat", STAT.format(all="9 9 9 9", first=rows[0], second=rows[1]))

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_our_own_time_is_no_load(host: Host):
    host.load.sample(10.0)
    host.stat(100, 100)
    host.own = 1.5
    sample = host.load.sample(11.0)
    assert sample.other_cores == pytest.approx(0.5)
    assert sample.idle_cores == pytest.approx(0.0)
    assert sample.usable_cores == 2.0


def test_stolen_time_is_load(host: Host):
    host.load.sample(10.0)
    host.stat(0, 0, steal=30)
    assert host.load.sample(11.0).other_cores == pytest.approx(0.6)


def test_within_the_interval_the_sample_stays(host: Host):
    first = host.load.sample(10.0)
    host.stat(100, 100)
    assert host.load.sample(10.05) is first
    assert host.load.sample(10.2) is not first


def test_cores_that_are_granted_later_count(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load_module, "_allowed_cores", lambda: [0])
    assert host.load.sample(10.0).usable_cores == 1.0
    monkeypatch.setattr(load_module, "_allowed_cores", lambda: [0, 1])
    host.stat(100, 100)
    assert host.load.sample(11.0).usable_cores == 1.0
    assert host.load.sample(16.0).usable_cores == 2.0


def test_a_quota_above_us_counts(host: Host):
    host.write("proc/self/cgroup", PROC)
    host.write("sys/fs/cgroup/box/cpu.max", "150000 100000\n")
    host.write("sys/fs/cgroup/box/cpu.stat", "usage_usec 5\nnr_periods 3\nnr_throttled 4\n")
    host.write("sys/fs/cgroup/box/inner/cpu.max", "max 100000\n")
    first = host.load.sample(10.0)
    assert first.usable_cores == 1.5
    assert not first.throttled
    host.write("sys/fs/cgroup/box/cpu.stat", "usage_usec 5\nnr_periods 3\nnr_throttled 6\n")
    host.stat(60, 40)
    sample = host.load.sample(11.0)
    assert sample.throttled
    # Half a core is kept from us by the quota: the others may as well have it.
    assert sample.other_cores == pytest.approx(0.5)


def test_version_1_quotas_are_read(host: Host):
    host.write("proc/self/cgroup", "2:cpuacct:/\n1:cpu,foo:/box\n0::/\n")
    host.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n")
    host.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n")
    assert host.load.sample(10.0).usable_cores == 1.0


def test_no_limit_is_no_quota(host: Host):
    host.write("cpu.cfs_quota_us", "-1\n")
    host.write("cpu.cfs_period_us", "100000\n")
    assert read_quota(host.root) is None
    assert read_quota(host.root / "missing") is None


def test_what_cannot_be_read_is_no_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails() -> None:
        raise RuntimeError("no such counters")

    monkeypatch.setattr(load_module.psutil, "cpu_times", fails)
    load = Load(tmp_path)
    load.sample(1.0)
    assert load.sample(2.0).other_cores == 0.0


def test_a_system_without_proc_is_read_through_psutil(tmp_path: Path):
    load = Load(tmp_path)
    load.sample(1.0)
    assert load.sample(2.0).other_cores >= 0.0


def test_this_machine_can_be_read():
    load = Load()
    load.sample(1.0)
    sample = load.sample(2.0)
    assert 0.0 <= sample.other_cores <= sample.usable_cores


def test_strange_text_is_an_error_of_one_kind():
    for text in (b"", b"nothing", b"cpu0 x y z a b", b"cpu7 1 2 3 4 5"):
        with pytest.raises(ValueError, match=r".*"):
            parse_busy_ticks(text, [0])
    assert parse_busy_ticks(b"cpu0 1 2 3 4 5", [0]) == 6


def test_groups_of_both_versions_are_found():
    assert parse_groups("3:cpu,cpuacct:/a\n0::/b\n") == [
        ("sys/fs/cgroup/cpu", "/a"),
        ("sys/fs/cgroup", "/b"),
    ]
    assert parse_groups("") == [("sys/fs/cgroup", "/")]


def test_a_long_step_is_no_pause_of_ours(host: Host):
    host.load.sample(10.0)
    host.stat(200, 100)
    host.own = 2.0
    worked = host.load.sample(12.0)
    assert worked.other_cores == pytest.approx(0.5)
    assert not worked.rested
    host.stat(900, 900)
    rested = host.load.sample(22.0)
    assert rested.other_cores == pytest.approx(0.5), "what was seen at work stands"
    assert rested.rested
    assert not host.load.sample(22.2).rested
