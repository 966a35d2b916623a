"""`ai-assistant devices`."""

import functools
import json
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke
from tests.devices.machines import NAMES, profile_of, recorded

from ai_assistant.cli import devices as family
from ai_assistant.cli.devices_table import page
from ai_assistant.devices.measure import measure
from ai_assistant.devices.profile import Profile
from ai_assistant.devices.recording import Recording
from ai_assistant.devices.source import Source


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real measuring in little time, at the priority of the tests."""
    monkeypatch.setattr(family, "measure", functools.partial(measure, seconds=2.5))
    monkeypatch.setattr(family, "step_back", lambda: None)


def test_the_machine_is_shown_and_measuring_is_offered(invoke: Invoke, home: Path):
    result = invoke("devices")
    assert result.exit_code == 0
    for title in ("Processor", "Memory", "Disks"):
        assert title in result.output
    assert "Next: ai-assistant devices --measure" in result.output
    assert not (home / "data").exists()


def test_what_was_measured_is_kept_and_shown_again(invoke: Invoke, home: Path, quick: None):
    first = invoke("devices", "--measure", "--json")
    assert first.exit_code == 0
    profile = json.loads(first.stdout)
    assert profile["memory"]["read"]
    kept = home / "data/ai-assistant/machine.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    again = json.loads(invoke("devices", "--json").stdout)
    assert again["measured_at"] == profile["measured_at"]
    assert again["memory"]["read"] == profile["memory"]["read"]
    assert "GB/s (threads)" in invoke("devices").output


def test_an_interruption_leaves_nothing(
    invoke: Invoke, home: Path, quick: None, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_arguments: object, **_more: object) -> Profile:
        raise KeyboardInterrupt

    monkeypatch.setattr(family, "measure", interrupted)
    assert invoke("devices", "--measure").exit_code == 130
    assert not (home / "data/ai-assistant/machine.json").exists()


def test_a_recording_can_be_looked_at_elsewhere(invoke: Invoke, tmp_path: Path):
    file = tmp_path / "machine.txt"
    result = invoke("devices", "--record", str(file))
    assert result.exit_code == 0
    assert "no addresses and no serial numbers" in file.read_text("utf-8")
    source: Source = Recording(file.read_text("utf-8"))
    assert source.system
    assert source.kernels() is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_has_a_page(name: str):
    text = page(profile_of(name))
    assert profile_of(name).cpu.name in text
    assert "None" not in text
    assert recorded(name).system in text


def test_numbers_have_units():
    text = page(profile_of("laptop-i7-1370p"))
    assert "14 cores, 20 threads (6 performance, 8 efficiency)" in text
    assert "L2 6 × 1.25 MiB (performance)" in text
    assert "battery" in text
    text = page(profile_of("workstation-two-cards"))
    assert "PCIe 4.0 ×4, unused: the kernels were not built for it" in text
    text = page(profile_of("container-quota"))
    assert "12 threads, quota 6 cores" in text
