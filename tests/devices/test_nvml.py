"""NVIDIA's library: asked for what exists, and believed where it answers."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from ai_assistant.devices import nvml
from ai_assistant.devices.nvml import normal_address, read_cards


class Driver:
    """A library with one card; questions in `refused` are not supported by it."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *refused: str, starts: bool = True) -> None:
        self._refused = refused
        self._starts = starts
        self.open = 0

    def nvmlInit(self) -> None:
        if not self._starts:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": b"NVIDIA H100 PCIe",
            "nvmlDeviceGetPciInfo": SimpleNamespace(busId=b"00000000:C5:00.0"),
            "nvmlSystemGetDriverVersion": "595.71.05",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=85_520_809_984, free=85_000_000_000),
            "nvmlDeviceGetMaxPcieLinkGeneration": 5,
            "nvmlDeviceGetMaxPcieLinkWidth": 16,
            "nvmlDeviceGetPowerUsage": 48_120,
            "nvmlDeviceGetPowerManagementLimit": 350_000,
            "nvmlDeviceGetPowerManagementLimitConstraints": [200_000, 350_000],
            "nvmlDeviceGetTotalEnergyConsumption": 7_654_321,
            "nvmlDeviceGetTemperature": 33,
            "nvmlDeviceGetTemperatureThreshold": 89,
            "nvmlDeviceGetDecoderUtilization": [0, 167_000],
        }
        if name not in answers:
            raise AttributeError(name)

        def answer(*_arguments: object) -> Any:
            if name in self._refused:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answers[name]

        return answer


def with_driver(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


def test_every_question_exists_in_the_real_library():
    source = Path(nvml.__file__).read_text("utf-8")
    names = set(re.findall(r"\bnvml[A-Z]\w+", source))
    assert len(names) > 12
    assert {name for name in names if not hasattr(pynvml, name)} == set()


def test_a_card_in_our_units(monkeypatch: pytest.MonkeyPatch):
    driver = with_driver(monkeypatch, Driver())
    (card,) = read_cards()
    assert (card.name, card.pci, card.driver) == ("NVIDIA H100 PCIe", "0000:c5:00.0", "595.71.05")
    assert (card.memory_total, card.memory_free) == (85_520_809_984, 85_000_000_000)
    assert (card.power, card.power_limit, card.power_least, card.power_most) == (
        48.12, 350, 200, 350,
    )  # fmt: skip
    assert (card.energy, card.temperature, card.temperature_limit) == (7654.321, 33, 89)
    assert (card.link_generation, card.link_lanes, card.decodes) == (5, 16, True)
    assert driver.open == 0


def test_what_a_card_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch):
    refused = (
        "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetPciInfo",
        "nvmlDeviceGetPowerManagementLimitConstraints", "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetDecoderUtilization", "nvmlDeviceGetName",
    )  # fmt: skip
    with_driver(monkeypatch, Driver(*refused))
    (card,) = read_cards()
    assert (card.name, card.pci, card.memory_total, card.power) == ("NVIDIA card", "", None, None)
    assert (card.power_least, card.energy, card.decodes) == (None, None, False)


def test_without_a_driver_there_are_no_cards(monkeypatch: pytest.MonkeyPatch):
    with_driver(monkeypatch, Driver(starts=False))
    assert read_cards() == ()


def test_without_the_library_there_are_no_cards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_cards() == ()


@pytest.mark.parametrize(
    ("text", "address"),
    [("00000000:01:00.0", "0000:01:00.0"), ("0000000F:01:00.0", "000f:01:00.0"), ("", "")],
)
def test_addresses_are_written_as_the_system_does(text: str, address: str):
    assert normal_address(text) == address
