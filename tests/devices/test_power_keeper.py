"""A keeper on recorded machines whose sensors move."""

from pathlib import Path

import pytest
from tests.devices.machines import FOLDER, NAMES, recorded
from tests.fakes.live_machine import LiveMachine

from ai_assistant.devices.apply_journal import Holder, Journal, power_journal
from ai_assistant.devices.power import heat, meter
from ai_assistant.devices.power.keeper import Keeper
from ai_assistant.devices.power.levers import levers
from ai_assistant.devices.power.meter import Meter, PerToken
from ai_assistant.devices.power.modes import read_mode
from ai_assistant.devices.power.settings import PowerSettings
from ai_assistant.devices.probe.power import read_power
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.power import Restraint

XEON = FOLDER / "old-xeon-e5-2650v2.txt"
LAPTOP = FOLDER / "laptop-i7-1370p.txt"
SERVER = FOLDER / "server-8x-h100.txt"
ENERGY = "/sys/class/powercap/intel-rapl:0/energy_uj"
LIMIT = "/sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw"
CHIP = "/sys/class/hwmon/hwmon0/temp1_input"
PREFERENCE = "/sys/devices/system/cpu/cpufreq/policy0/energy_performance_preference"


@pytest.fixture
def xeon() -> LiveMachine:
    return LiveMachine.of(XEON)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return power_journal(tmp_path)


def keeper_of(machine: LiveMachine, journal: Journal, **settings: object) -> Keeper:
    keeper = Keeper(machine, journal, PowerSettings(**settings), cores=8)  # type: ignore[arg-type]
    keeper.start()
    return keeper


def sensors_of(name: str):
    source = recorded(name)
    return source, read_power(source, source.cards())


@pytest.mark.parametrize("name", NAMES)
def test_no_machine_gets_a_figure_without_a_sensor(name: str, tmp_path: Path):
    keeper = keeper_of(LiveMachine.of(FOLDER / f"{name}.txt"), power_journal(tmp_path))
    keeper.tick(0.0, 0)
    keeper.tick(1.0, 100)
    told = keeper.status()
    assert keeper.restraint == Restraint()
    assert (told.joules is None) == (not told.sensors)
    assert (told.joules_per_token is None) == (not told.joules)  # recorded counters stand still
    assert not (tmp_path / "power-changes.json").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("old-xeon-e5-2650v2", ["rapl package-0"]),
        ("laptop-i7-1370p", []),  # the counter is for root
        ("raspberry-pi-5", []),
        ("mac-mini-m4", []),
        ("vm-azure-8272cl", []),
    ],
)
def test_what_tells_energy(name: str, told: list[str]):
    source, power = sensors_of(name)
    assert list(Meter(source, meter.usable(power)).names) == told


def test_a_package_that_is_told_twice_counts_once():
    twice = [
        ">>> file /sys/class/powercap/intel-rapl-mmio:0/name = package-0",
        ">>> file /sys/class/powercap/intel-rapl-mmio:0/energy_uj = 5",
        ">>> file /sys/class/powercap/intel-rapl:0:0/name = core",
        ">>> file /sys/class/powercap/intel-rapl:0:0/energy_uj = 5",
        ">>> file /sys/class/powercap/intel-rapl:0:1/name = dram",
        ">>> file /sys/class/powercap/intel-rapl:0:1/energy_uj = 5",
    ]
    machine = LiveMachine.of(XEON, *twice)
    names = Meter(machine, meter.usable(read_power(machine, ()))).names
    assert names == ("rapl package-0", "rapl dram")


def test_cards_count_by_their_own_counters():
    machine = LiveMachine.of(SERVER)
    found = Meter(machine, meter.usable(read_power(machine, machine.cards())))
    assert len(found.names) == len(machine.cards())
    found.read(0.0)
    machine.card_now[0] = {"energy": 1_000_700.0}
    reading = found.read(2.0)
    assert reading is not None
    assert (reading.joules, reading.watts) == (700.0, 350.0)


def test_a_counter_that_wraps_goes_on(xeon: LiveMachine):
    found = Meter(xeon, meter.usable(read_power(xeon, ())))
    xeon.now[ENERGY] = "262143000000"
    found.read(0.0)
    xeon.now[ENERGY] = "671150"
    reading = found.read(1.0)
    assert reading is not None
    assert reading.joules == pytest.approx(1.0)


def test_power_counts_as_energy_only_over_short_gaps():
    machine = LiveMachine.of(SERVER)
    sensors = [one for one in read_power(machine, machine.cards()).sensors if one.path == "nvml:0"]
    found = Meter(machine, [one for one in sensors if one.reading == "power"])
    found.read(0.0)
    machine.card_now[0] = {"power": 130.0}
    assert found.read(1.0).joules == pytest.approx(100.0)  # type: ignore[union-attr]
    assert found.read(601.0).joules == pytest.approx(100.0 + 5 * 130.0)  # type: ignore[union-attr]


def test_joules_per_token_are_of_work_alone(xeon: LiveMachine, journal: Journal):
    keeper = keeper_of(xeon, journal)
    joules, tokens = 1000, 0
    for second in range(30):
        xeon.now[ENERGY] = str(joules * 1_000_000)
        keeper.tick(float(second), tokens)
        busy = 10 <= second < 20
        joules, tokens = joules + (80 if busy else 20), tokens + (40 if busy else 0)
    told = keeper.status()
    assert told.joules_per_token == pytest.approx(2.0)
    assert told.watts == pytest.approx(20.0)
    assert told.joules == pytest.approx(19 * 20 + 10 * 80)


def test_a_pause_is_not_counted_against_the_tokens_after_it(xeon: LiveMachine, journal: Journal):
    keeper = keeper_of(xeon, journal)
    for second, joules, tokens in (
        (0, 0, 0),
        (600, 12_000, 50),
        (601, 12_080, 90),
        (602, 12_160, 130),
    ):
        xeon.now[ENERGY] = str(joules * 1_000_000)
        keeper.tick(float(second), tokens)
    assert keeper.status().joules_per_token == pytest.approx(2.0)


def test_few_tokens_say_nothing():
    per_token = PerToken()
    per_token.add(1.0, 80.0, 10)
    assert per_token.value is None


def test_an_engine_that_starts_again_takes_no_tokens_back(xeon: LiveMachine, journal: Journal):
    keeper = keeper_of(xeon, journal)
    for second, tokens in enumerate([0, 100, 5, 105]):
        xeon.now[ENERGY] = str((100 + 50 * second) * 1_000_000)
        keeper.tick(float(second), tokens)
    assert keeper.status().joules_per_token == pytest.approx(0.5)


def test_heat_slows_the_engines_down_and_lets_them_go_again(xeon: LiveMachine, journal: Journal):
    keeper = keeper_of(xeon, journal, ceiling=80)
    assert keeper.tick(0.0, 0) == Restraint()
    xeon.now[CHIP] = "83000"
    eases = [keeper.tick(float(second), second) for second in range(1, 40)]
    assert eases[0].threads == 6
    assert eases[-1].work == 0.25
    told = keeper.status()
    assert (told.temperature, told.ceiling, told.slowed_by) == (83.0, 80.0, "heat")
    xeon.now[CHIP] = "77000"
    assert keeper.tick(100.0, 50) == eases[-1]  # not cool enough yet
    xeon.now[CHIP] = "70000"
    for second in range(101, 400):
        keeper.tick(float(second), second)
    assert keeper.restraint == Restraint()
    assert keeper.status().slowed_by == ""


def test_disks_and_batteries_are_not_the_processor_s_heat():
    for name, told in (("mini-pc-ryzen-8845hs", ["k10temp Tctl", "amdgpu edge"]),):
        _, power = sensors_of(name)
        assert [one.name for one in heat.of_chips(power)] == told


def test_watts_are_kept_by_the_engines_where_the_system_is_not_to_be_touched(
    xeon: LiveMachine, journal: Journal
):
    keeper = keeper_of(xeon, journal, mode="45 W")
    joules = 0
    for second in range(60):
        work = keeper.restraint.work * (keeper.restraint.threads or 8) / 8
        joules += 15 + round(70 * work)
        xeon.now[ENERGY] = str(joules * 1_000_000)
        keeper.tick(float(second), 10 * second)
    told = keeper.status()
    assert told.watts is not None
    assert told.watts <= 45 * 1.03
    assert told.slowed_by == "power"
    assert xeon.written == []


def test_watts_that_nobody_could_keep_are_refused(journal: Journal):
    machine = LiveMachine.of(LAPTOP)
    keeper = keeper_of(machine, journal, mode="15 W")  # told in the log
    assert keeper.status().mode == "max"
    with pytest.raises(InvalidRequest, match="No sensor"):
        keeper.set_mode("15W")
    keeper.set_mode("quiet")
    assert keeper.status().mode == "quiet"


def test_the_system_is_set_and_put_back(xeon: LiveMachine, journal: Journal):
    keeper = keeper_of(xeon, journal, mode="60 W", change_system=True)
    assert (LIMIT, "60000000") in xeon.written
    assert keeper.status().settings == (f"{LIMIT} = 60000000",)
    keeper.set_mode("30 W")  # of the hardware's own limit, not of 60 W
    assert xeon.read(LIMIT) == "30000000"
    keeper.set_mode("quiet")
    assert xeon.read(LIMIT) == "95000000"
    keeper.set_mode("30 W")
    keeper.close()
    assert xeon.read(LIMIT) == "95000000"
    assert journal.read() is None
    keeper.set_mode("60 W")  # one that was on its way
    assert xeon.read(LIMIT) == "95000000"


def test_what_a_dead_node_left_is_put_back_at_the_next_start(xeon: LiveMachine, journal: Journal):
    keeper_of(xeon, journal, mode="60 W", change_system=True)  # and never closed
    assert xeon.read(LIMIT) == "60000000"
    keeper_of(xeon, journal)
    assert xeon.read(LIMIT) == "95000000"
    assert journal.read() is None


def test_a_living_node_s_settings_are_left_alone(xeon: LiveMachine, journal: Journal):
    import os

    import msgspec
    import psutil

    keeper_of(xeon, journal, mode="60 W", change_system=True)
    parent = psutil.Process(os.getppid())
    held = Holder(pid=parent.pid, started=parent.create_time())
    entry = journal.read()
    assert entry is not None
    journal.path.write_bytes(msgspec.json.encode(msgspec.structs.replace(entry, holder=held)))
    other = keeper_of(xeon, journal, mode="30 W", change_system=True)
    assert xeon.read(LIMIT) == "60000000"
    other.close()
    assert xeon.read(LIMIT) == "60000000"


def test_without_rights_the_commands_are_told(xeon: LiveMachine, journal: Journal):
    xeon.refuse = True
    keeper = keeper_of(xeon, journal, mode="60 W", change_system=True)
    told = keeper.status()
    assert told.settings == ()
    assert told.refused == (f"echo 60000000 | sudo tee {LIMIT}",)
    assert journal.read() is None


@pytest.mark.parametrize(
    ("mode", "value"), [("quiet", "power"), ("balanced", None), ("max", "performance")]
)
def test_preferences_where_the_driver_has_them(mode: str, value: str | None):
    words = "default performance balance_performance balance_power power"
    path = PREFERENCE.replace("preference", "available_preferences")
    machine = LiveMachine.of(
        LAPTOP,
        f">>> file {path} = {words}",
        f">>> file {PREFERENCE} = balance_performance",
    )
    found = levers(machine, read_mode(mode), ())
    wanted = value or "balance_performance"
    assert [(one.path.replace("*", "0"), one.value) for one in found] == [(PREFERENCE, wanted)]


def test_watts_are_shared_among_cards_by_their_own_limits():
    machine = LiveMachine.of(SERVER)
    found = levers(machine, read_mode("2800 W"), machine.cards())
    assert [(one.path, one.value) for one in found] == [
        (f"nvml:{index}/power_limit", "350") for index in range(8)
    ]
    least = levers(machine, read_mode("800 W"), machine.cards())
    assert {one.value for one in least} == {"200"}
    assert {one.value for one in levers(machine, read_mode("quiet"), machine.cards())} == {"200"}
    assert levers(machine, read_mode("max"), machine.cards()) == ()
