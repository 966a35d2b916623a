"""Damaged and strange files never crash the probe, and nothing is made up from them."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from tests.devices.machines import FOLDERS, NAMES, text_of

from ai_assistant.devices.probe import probe
from ai_assistant.devices.probe.links import parse_ifconfig
from ai_assistant.devices.probe.media import va_codecs
from ai_assistant.devices.probe.memory import parse_pressure
from ai_assistant.devices.probe.offers import parse_swaps
from ai_assistant.devices.probe.text import chosen, cpu_list, number, size, table
from ai_assistant.devices.recording import Recorder, Recording
from ai_assistant.devices.source import ThisMachine, by_number


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,8,10-11\n", (0, 1, 2, 3, 8, 10, 11)),
        ("5", (5,)),
        ("", ()),
        (None, ()),
        ("3-1", ()),
        ("0-99999999999", ()),
        ("a-b,2", (2,)),
        ("²-3", ()),
    ],
)
def test_lists_of_processors(text: str | None, numbers: tuple[int, ...]):
    assert cpu_list(text) == numbers


@given(some.sets(some.integers(0, 400)))
def test_a_list_of_processors_comes_back(numbers: set[int]):
    assert cpu_list(",".join(map(str, numbers))) == tuple(sorted(numbers))


@pytest.mark.parametrize(
    ("text", "count"),
    [("32K", 32768), ("1.5M", 3 << 19), ("2048.00M", 2 << 30), ("16 kB", 16384), ("12", 12),
     ("x", None), (None, None)],
)  # fmt: skip
def test_sizes(text: str | None, count: int | None):
    assert size(text) == count


def test_words_in_brackets():
    assert chosen("always [madvise] never") == "madvise"
    assert chosen("always madvise") is None


def test_numbered_names_are_sorted_as_people_count():
    names = ["cpu10", "cpu9", "cpu1", "card", "node2/cpu3"]
    assert sorted(names, key=by_number) == ["card", "cpu1", "cpu9", "cpu10", "node2/cpu3"]


@given(some.text())
def test_any_text_is_read_without_a_crash(text: str):
    number(text), table(text), chosen(text), size(text)
    parse_pressure(text), parse_swaps(text), parse_ifconfig(text), va_codecs(text)


def test_pressure_that_is_half_there_is_none():
    assert parse_pressure("some avg10=1.00 avg60=2.00 avg300=0 total=1") is None


@settings(max_examples=80, deadline=None)
@example(name="vm-firecracker-epyc", seed=70269)
@given(name=some.sampled_from(NAMES), seed=some.integers(0, 2**32))
def test_machines_with_damaged_files_are_still_read(name: str, seed: int):
    """Every file is cut, emptied, filled with noise or taken away at random."""
    chance = random.Random(seed)
    lines: list[str] = []
    for line in text_of(name).splitlines():
        if line.startswith((">>> cards", ">>> kernels", "{", "[", "}", "]", " ")):
            lines.append(line)
            continue
        fate = chance.random()
        if line.startswith(">>> file") and " = " in line and fate < 0.4:
            noise = "".join(chance.choice("0123456789-, :[]xK\x7f²") for _ in range(6))
            line = f"{line.partition(' = ')[0]} = {noise if fate < 0.3 else ''}"
        elif not line.startswith(">>>") and fate < 0.4:
            line = line[: chance.randrange(len(line) + 1)]
        elif line.startswith((">>> link", ">>> hidden", ">>> space")) and fate < 0.2:
            continue
        lines.append(line)
    profile = probe(Recording("\n".join(lines)), FOLDERS, now="now")
    assert profile.cpu.compute_cores >= 1
    assert 0 <= profile.memory.free_bytes <= profile.memory.total_bytes
    assert profile.memory.total_bytes > 0


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows", "FreeBSD"])
def test_a_machine_that_tells_nothing_is_a_machine(system: str):
    profile = probe(Recording(f">>> system {system} x86_64"), ("/data",), now="now")
    assert profile.cpu.logical >= 1
    assert profile.cpu.instruction_sets is None or system == "Darwin"
    assert profile.accelerators == ()
    assert profile.kernels_error is not None


@pytest.mark.parametrize("text", ["", "hello", ">>> wizard 1", ">>> system L x\n>>> cards\n{"])
def test_what_is_no_recording_is_refused_with_a_reason(text: str):
    with pytest.raises(ValueError, match="recording"):
        Recording(text)


def test_this_machine_can_be_recorded_and_read_again():
    recorder = Recorder(ThisMachine())
    profile = probe(recorder, ("/",), now="now", with_kernels=False)
    again = Recording(recorder.text("here"))
    assert probe(again, ("/",), now="now", with_kernels=False) == profile


def test_a_recording_holds_no_addresses_and_no_serial_numbers():
    pi = ">>> system Linux aarch64\n>>> file /proc/cpuinfo\nprocessor: 0\nSerial\t\t: 48343bbbe3ae"
    recorder = Recorder(Recording(pi))
    probe(recorder, now="now")
    mac = ">>> system Darwin arm64\n>>> run ifconfig\nen0: up\n\tether d0:11:e5\n\tinet 10.1.2.3 x"
    other = Recorder(Recording(mac))
    probe(other, now="now")
    text = recorder.text("pi") + other.text("mac")
    assert "processor: 0" in text
    assert not any(secret in text for secret in ("48343bbbe3ae", "d0:11:e5", "10.1.2.3"))
