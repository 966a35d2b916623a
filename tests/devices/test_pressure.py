"""How short memory is, from what recorded machines tell."""

import pytest

from ai_assistant.devices.pressure import PressureFacts, judge, read_pressure

GB = 1 << 30


class Machine:
    """Files and programs of a machine, by path and command."""

    def __init__(self, files: dict[str, str], system: str = "Linux", sysctl: str = "") -> None:
        self.system = system
        self.machine = "x86_64"
        self._files = files
        self._sysctl = sysctl

    def read(self, path: str) -> str | None:
        return self._files.get(path)

    def find(self, pattern: str) -> tuple[str, ...]:
        return tuple(path for path in self._files if path.startswith(pattern))

    def run(self, *command: str) -> str | None:
        return self._sysctl or None


MEMINFO = "MemTotal: 16777216 kB\nMemFree: 100000 kB\nMemAvailable: 8388608 kB"
PSI = (
    "some avg10=12.50 avg60=3.00 avg300=1.00 total=99\n"
    "full avg10=1.25 avg60=0.50 avg300=0.10 total=9"
)


def test_a_machine_without_groups() -> None:
    facts = read_pressure(Machine({"/proc/meminfo": MEMINFO, "/proc/pressure/memory": PSI}))  # type: ignore[arg-type]
    assert facts == PressureFacts(total=16 * GB, free=8 * GB, some=12.5, full=1.25)


def test_a_container_has_what_its_group_leaves() -> None:
    base = "/sys/fs/cgroup"
    facts = read_pressure(
        Machine(  # type: ignore[arg-type]
            {
                "/proc/meminfo": MEMINFO,
                "/proc/pressure/memory": PSI,
                "/proc/self/cgroup": "0::/",
                f"{base}/cgroup.controllers": "memory",
                f"{base}/cgroup.procs": "1",
                f"{base}/memory.max": str(4 * GB),
                f"{base}/memory.current": str(3 * GB),
                f"{base}/memory.stat": f"anon {GB}\ninactive_file {GB}\nactive_file 0",
                f"{base}/memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1",
                f"{base}/memory.pressure": PSI.replace("12.50", "0.00"),
            }
        )
    )
    assert facts == PressureFacts(total=4 * GB, free=2 * GB, some=0.0, full=1.25, killed=1)


def test_groups_of_the_first_version() -> None:
    base = "/sys/fs/cgroup/memory/box"
    facts = read_pressure(
        Machine(  # type: ignore[arg-type]
            {
                "/proc/meminfo": MEMINFO,
                "/proc/self/cgroup": "4:memory:/box",
                f"{base}/memory.limit_in_bytes": str(4 * GB),
                f"{base}/memory.usage_in_bytes": str(4 * GB),
                f"{base}/memory.stat": f"total_inactive_file {GB}",
                f"{base}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
                "/sys/fs/cgroup/memory": "",
            }
        )
    )
    assert (facts.total, facts.free, facts.killed) == (4 * GB, GB, 3)


def test_macos_has_a_level_of_its_own() -> None:
    assert read_pressure(Machine({}, "Darwin", "4")) == PressureFacts(apple=4)  # type: ignore[arg-type]


def test_a_system_that_tells_nothing_is_calm() -> None:
    facts = read_pressure(Machine({}))  # type: ignore[arg-type]
    assert judge(facts, facts, "calm") == "calm"


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (PressureFacts(total=16 * GB, free=8 * GB, some=0.0, full=0.0), "calm"),
        (PressureFacts(total=16 * GB, free=int(0.05 * 16 * GB)), "tight"),
        (PressureFacts(total=16 * GB, free=int(0.02 * 16 * GB)), "critical"),
        (PressureFacts(total=16 * GB, free=8 * GB, some=15.0, full=0.0), "tight"),
        (PressureFacts(total=16 * GB, free=8 * GB, some=15.0, full=6.0), "critical"),
        (PressureFacts(apple=1), "calm"),
        (PressureFacts(apple=2), "tight"),
        (PressureFacts(apple=4), "critical"),
        (PressureFacts(total=GB, free=GB, killed=1), "critical"),
    ],
)
def test_levels(facts: PressureFacts, level: str) -> None:
    assert judge(facts, PressureFacts(), "calm") == level


def test_tight_ends_only_when_there_is_room_again() -> None:
    almost = PressureFacts(total=100, free=8, some=0.0)
    assert judge(almost, almost, "calm") == "calm"
    assert judge(almost, almost, "tight") == "tight"
    roomy = PressureFacts(total=100, free=20, some=0.0)
    assert judge(roomy, roomy, "critical") == "calm"


def test_the_killer_counts_once() -> None:
    facts = PressureFacts(total=100, free=50, killed=2)
    assert judge(facts, facts, "calm") == "calm"
