"""What is kept of a worker's traffic: quantiles, errors, and whether it may be tried."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.slow_disk import slow_disk
from tests.workers.remote_tools import OpenGate

from ai_assistant.protocol.errors import (
    AssistantError,
    ContextLengthExceeded,
    ProviderBusy,
    ProviderKeyRefused,
    ProviderOutOfCredit,
    ProviderRateLimited,
    ProviderUnreachable,
    StreamBroken,
)
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.record import HALF_LIFE, Record
from ai_assistant.workers.remote.sketch import Sketch


@given(st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_are_right_to_five_percent(values: list[float], share: float) -> None:
    sketch = Sketch(HALF_LIFE)
    for value in values:
        sketch.add(value, 0.0)
    found = sketch.quantile(share)
    assert found is not None
    below = sum(value <= found * 1.0501 for value in values)
    above = sum(value >= found / 1.0501 for value in values)
    assert below >= share * len(values) - 1e-6
    assert above >= (1 - share) * len(values) - 1e-6


def test_the_past_fades() -> None:
    sketch = Sketch(60.0)
    for _ in range(1000):
        sketch.add(10.0, 0.0)
    for second in range(20):
        sketch.add(0.1, 1200.0 + second)
    assert sketch.quantile(0.5) == pytest.approx(0.1, rel=0.06)
    assert sketch.quantiles().count == pytest.approx(18, rel=0.15)


def test_memory_stays_bounded_over_years() -> None:
    sketch, chance = Sketch(60.0), random.Random(1)
    for step in range(20_000):
        sketch.add(chance.lognormvariate(0, 5), step * 1000.0)
    assert len(sketch.state().weights) < 250
    assert sketch.quantile(0.5) is not None


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    sketch = Sketch(60.0)
    sketch.add(1.0, 1e9)
    for _ in range(100):
        sketch.add(2.0, 0.0)
    assert sketch.quantile(0.5) == pytest.approx(2.0, rel=0.06)


def failed(record: Record, error: AssistantError, now: float) -> None:
    record.begin(now)
    record.fail(error, now)


def went_well(record: Record, now: float) -> None:
    record.begin(now)
    record.first_token(0.2, now)
    record.succeed(0.01, now)


def test_a_failing_worker_rests_longer_each_time_and_is_tried_by_one() -> None:
    record = Record()
    failed(record, ProviderUnreachable("no"), 0.0)
    assert record.facts(0.0).state == "cooling"
    first = record.facts(0.0).again_in
    assert record.facts(first).state == "probing"
    record.begin(first)
    assert record.facts(first).state == "cooling"  # one tries it, the others wait
    record.fail(ProviderUnreachable("no"), first)
    assert record.facts(first).again_in > first
    now = first + record.facts(first).again_in
    went_well(record, now)
    assert record.facts(now).state == "ok"


def test_many_that_fail_at_once_count_once() -> None:
    record = Record()
    for _ in range(50):
        record.begin(0.0)
    for _ in range(50):
        record.fail(ProviderUnreachable("no"), 0.0)
    assert 0 < record.facts(0.0).again_in <= 4


def test_one_broken_stream_is_an_accident_two_are_a_fault() -> None:
    record = Record()
    failed(record, StreamBroken("no"), 0.0)
    assert record.facts(0.0).state == "ok"
    failed(record, StreamBroken("no"), 0.0)
    assert record.facts(0.0).state == "cooling"


def test_a_server_that_says_when_is_believed() -> None:
    record = Record()
    record.begin(0.0)
    failed(record, ProviderRateLimited("no", retry_after=30), 0.0)
    record.succeed(0.01, 1.0)  # this one had begun before
    assert record.facts(1.0).state == "cooling"
    assert record.facts(0.0).again_in == 30


def test_a_refused_key_is_not_tried_again() -> None:
    record = Record()
    failed(record, ProviderKeyRefused("no"), 0.0)
    assert record.facts(1e9).state == "refused"
    record = Record()
    failed(record, ProviderOutOfCredit("no"), 0.0)
    assert record.facts(0.0).again_in > 600


@pytest.mark.parametrize("error", [ContextLengthExceeded("no"), ProviderBusy("no")])
def test_what_is_not_its_fault_says_nothing_about_a_worker(error: AssistantError) -> None:
    record = Record()
    for _ in range(10):
        failed(record, error, 0.0)
    facts = record.facts(0.0)
    assert (facts.state, facts.errors, facts.error_rate, facts.in_flight) == ("ok", 0, 0.0, 0)


def test_what_was_measured_outlives_the_program(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    file = RecordsFile(path)
    for now in range(10):
        went_well(file.record("a/m"), float(now))
    failed(file.record("a/m"), ProviderUnreachable("no"), 11.0)
    file.record("unused/m")
    file.save()
    assert path.stat().st_mode & 0o777 == 0o600
    again = RecordsFile(path)
    facts = again.record("a/m").facts(12.0)
    assert facts.ttft == file.record("a/m").facts(12.0).ttft
    assert (facts.requests, facts.errors, facts.last_error) == (11, 1, "provider_unreachable")
    assert facts.state == "ok"  # the next program finds out for itself
    other = RecordsFile(path)
    went_well(other.record("b/m"), 20.0)
    other.save()
    again.save()  # knows nothing new and takes nothing away
    assert RecordsFile(path).record("b/m").facts(20.0).requests == 1
    assert RecordsFile(path).record("a/m").facts(20.0).requests == 11


@given(st.binary(max_size=60))
def test_a_damaged_file_is_an_empty_one(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seen.json")
        path.write_bytes(content)
        assert RecordsFile(path).record("a/m").facts(0.0).requests == 0


def test_what_was_measured_outlives_a_kill(tmp_path: Path) -> None:
    async def run() -> None:
        records = RecordsFile(tmp_path / "seen.json")
        fleet = Fleet({}, environ={}, folder=tmp_path, gate=OpenGate(), records=records)
        keeping = asyncio.create_task(fleet.keep_records(0.02))
        one = records.record("a/b")
        one.begin(0.0)
        one.succeed(0.5, 1.0)
        for _ in range(100):
            await asyncio.sleep(0.02)
            if (tmp_path / "seen.json").exists():
                break
        keeping.cancel()

    asyncio.run(run())
    again = RecordsFile(tmp_path / "seen.json").record("a/b").facts(0.0)
    assert again.requests == 1
    assert again.tpot.p50 == pytest.approx(0.5, rel=0.06)


def test_nobody_waits_for_the_disk_while_it_is_kept(tmp_path: Path) -> None:
    async def run() -> float:
        records = RecordsFile(tmp_path / "seen.json")
        fleet = Fleet({}, environ={}, folder=tmp_path, gate=OpenGate(), records=records)
        went_well(records.record("a/b"), 0.0)
        with slow_disk(tmp_path / "seen.json", 0.8):
            keeping = asyncio.create_task(fleet.keep_records(0.01))
            longest, last = 0.0, time.monotonic()
            for _ in range(30):
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            keeping.cancel()
        await fleet.close()  # Behind the write that is under way.
        return longest

    assert asyncio.run(run()) < 0.4
    assert RecordsFile(tmp_path / "seen.json").record("a/b").facts(0.0).requests == 1


def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    records = RecordsFile(tmp_path / "seen.json")
    records.record("a/b").begin(0.0)
    records.save()
    (tmp_path / "seen.json").unlink()
    records.save()
    assert not (tmp_path / "seen.json").exists()
    records.record("a/b").succeed(0.5, 1.0)
    records.save()
    assert (tmp_path / "seen.json").exists()
