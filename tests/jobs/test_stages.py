"""A batch from its file to its results, with all that may go wrong in between."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.fake_desk import FakeDesk
from tests.fakes.full_disk import FullDisk
from tests.fakes.hand_clock import settle, until
from tests.jobs.bench_house import DAY, AlwaysOnline, House, line, many, names

from ai_assistant.jobs.ports import Call
from ai_assistant.jobs.results import Answered
from ai_assistant.protocol.errors import (
    AssistantError,
    EngineDied,
    InvalidRequest,
    ModelLoading,
    NotFound,
    Overloaded,
)
from ai_assistant.protocol.requests import GenerateRequest

NIGHT = "22:00-06:00"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path)
    yield found
    found.database.close()


def test_every_line_has_its_answer_in_the_order_of_the_lines(house: House) -> None:
    name = house.add(many(50))
    assert asyncio.run(house.run(name)) == "completed"
    batch = house.books.batch(name)
    assert names(house.output(name)) == [f"r{i}" for i in range(50)]
    assert batch.status == "completed"
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (50, 50, 0)
    assert (batch.spent.input, batch.spent.output, batch.model) == (150, 100, "m")
    assert batch.error_file is None
    first = house.output(name)[0]
    assert first["response"]["status_code"] == 200
    assert first["response"]["body"]["echo"]["messages"][0]["content"] == "r0"
    assert first["error"] is None
    assert set(batch.times) == {"in_progress", "finalizing", "completed"}


def test_bad_lines_go_to_the_error_file_and_harm_nobody(house: House) -> None:
    lines = [line("a"), "no json", line("b", url="/v1/embeddings"), "", line("a"), line("c")]
    name = house.add("\n".join(lines).encode() + b'\n{"custom_id": "torn", "met')
    asyncio.run(house.run(name))
    assert names(house.output(name)) == ["a", "c"]
    errors = house.errors(name)
    assert names(errors) == [None, "b", "a", None]
    assert [entry["error"]["code"] for entry in errors] == [
        "invalid_json_line", "mismatched_endpoint", "duplicate_custom_id", "invalid_json_line",
    ]  # fmt: skip
    counts = house.books.batch(name).counts
    assert (counts.total, counts.completed, counts.failed) == (6, 2, 4)


@pytest.mark.parametrize(("content", "code"), [(b"", "empty_file"), (b"\n \n", "empty_file")])
def test_a_file_without_a_request_fails(house: House, content: bytes, code: str) -> None:
    name = house.add(content)
    assert asyncio.run(house.run(name)) == "failed"
    batch = house.books.batch(name)
    assert (batch.status, batch.errors[0].code) == ("failed", code)


def test_a_file_that_is_gone_fails_with_what_is_done(house: House) -> None:
    name = house.add(many(3))
    house.shelf.path(house.books.batch(name).input_file).unlink()
    asyncio.run(house.run(name))
    assert house.books.batch(name).errors[0].code == "input_file_missing"


@given(st.lists(st.integers(1, 40), max_size=4), st.integers(1, 30))
@settings(max_examples=15, deadline=None)
def test_cut_off_anywhere_and_begun_again_nothing_is_lost_or_double(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], count: int
) -> None:
    house = House(tmp_path_factory.mktemp("cut"))
    name = house.add([*many(count), "bad"])

    async def until(calls: int) -> None:
        async with house.running(name):
            goal = len(house.desk.calls) + calls
            for _ in range(1000):
                if len(house.desk.calls) >= goal or house.books.batch(name).final:
                    return
                await asyncio.sleep(0)

    for cut in cuts:
        asyncio.run(until(cut))
    asyncio.run(house.run(name))
    assert names(house.output(name)) == [f"r{i}" for i in range(count)]
    assert names(house.errors(name)) == [None]
    counts = house.books.batch(name).counts
    assert (counts.total, counts.completed, counts.failed) == (count + 1, count, 1)
    house.database.close()


def test_finishing_twice_gives_the_same_files(house: House) -> None:
    name = house.add(many(5))

    async def finish_again() -> None:
        await house.run(name)
        before = house.output(name)
        await house.stages.finish(name, "completed")
        assert house.output(name) == before

    asyncio.run(finish_again())
    assert len(house.books.files("", _all(), "batch_output")) == 1


def _all() -> object:
    from ai_assistant.jobs.entries import Page

    return Page(limit=100)


def test_no_more_lines_are_under_way_than_the_engine_has_room_for(house: House) -> None:
    one, other = house.add(many(30)), house.add(many(30))

    async def both() -> None:
        house.desk.gate = asyncio.Event()
        async with house.running(one) as first, house.running(other) as second:
            await until(lambda: house.stages.is_working(one) and house.stages.is_working(other))
            await settle(100)
            house.desk.gate.set()
            await asyncio.gather(first, second)

    asyncio.run(both())
    assert house.desk.most == house.desk.places
    turns = [call.request_id.rpartition("-")[0] for call in house.desk.calls][4:24]
    assert 8 <= turns.count(one) <= 12, "they take turns"


async def four_done(house: House, name: str) -> None:
    """The first four lines are done and kept; the next ones hang."""
    await until(lambda: house.desk.under_way == 4)
    gate, house.desk.gate = house.desk.gate, asyncio.Event()
    assert gate
    gate.set()
    await until(lambda: house.books.batch(name).counts.completed == 4)


def test_a_cancelled_batch_stops_at_once_and_keeps_what_is_done(house: House) -> None:
    house.desk.gate = asyncio.Event()
    name = house.add(many(20))

    async def cancel() -> None:
        async with house.running(name) as run:
            await four_done(house, name)
            house.cancel(name)
            assert await run == "cancelled"
        assert house.desk.under_way == 0

    asyncio.run(cancel())
    batch = house.books.batch(name)
    assert batch.status == "cancelled"
    assert names(house.output(name)) == ["r0", "r1", "r2", "r3"]
    assert {entry["error"]["code"] for entry in house.errors(name)} == {"batch_cancelled"}
    assert (batch.counts.completed, batch.counts.failed, batch.counts.total) == (4, 16, 20)


def test_cancelled_before_it_began(house: House) -> None:
    name = house.add(many(3))
    house.cancel(name)
    assert asyncio.run(house.run(name)) == "cancelled"
    assert house.books.batch(name).status == "cancelled"
    assert house.desk.calls == []


def test_when_its_time_is_over_it_expires_with_what_is_done(house: House) -> None:
    house.desk.gate = asyncio.Event()
    house.desk.reply = lambda _call, _try: None
    name = house.add(many(6))

    async def expire() -> None:
        async with house.running(name) as run:
            await four_done(house, name)
            await house.clock.turn_to(house.clock.now() + DAY)
            assert await run == "expired"

    asyncio.run(expire())
    assert house.books.batch(name).status == "expired"
    assert len(house.output(name)) == 4
    assert {entry["error"]["code"] for entry in house.errors(name)} == {"batch_expired"}


def test_it_works_in_its_hours_only(tmp_path: Path) -> None:
    house = House(tmp_path, window=NIGHT)
    name = house.add(many(12), expires_at=int(house.clock.now()) + 10 * DAY)

    async def nights() -> None:
        gate = house.desk.gate = asyncio.Event()
        await house.clock.turn_to(_next(house, 12))
        async with house.running(name) as run:
            await until(lambda: house.stages.hold(name))
            hold = house.stages.hold(name)
            assert house.desk.calls == []
            assert hold
            assert (hold.reason, hold.until) == ("window", int(_next(house, 22)))
            await house.clock.turn_to(_next(house, 22))
            await until(lambda: house.desk.under_way == 4)
            assert house.stages.hold(name) is None
            await house.clock.turn_to(_next(house, 7))
            gate.set()  # Those under way end, no other one begins.
            await until(lambda: house.books.batch(name).counts.completed == 4)
            await settle()
            assert len(house.desk.calls) == 4
            await house.clock.turn_to(_next(house, 23))
            assert await run == "completed"

    asyncio.run(nights())
    assert names(house.output(name)) == [f"r{i}" for i in range(12)]
    house.database.close()


def _next(house: House, hour: int) -> float:
    from datetime import datetime, timedelta

    now = datetime.fromtimestamp(house.clock.now())
    at = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return (at if at > now else at + timedelta(days=1)).timestamp()


def test_a_batch_may_have_hours_of_its_own(house: House) -> None:
    async def noon() -> None:
        await house.clock.turn_to(_next(house, 12))
        always, night = house.add(many(2)), house.add(many(2), window=NIGHT)
        async with house.running(night):
            await house.run(always)
            assert house.books.batch(always).status == "completed"
            assert house.books.batch(night).counts.completed == 0

    asyncio.run(noon())


def test_a_line_that_is_cut_off_before_it_began_leaves_its_place(tmp_path: Path) -> None:
    desk = FakeDesk(places=1)
    house = House(tmp_path, desk)
    name = house.add(many(3))

    async def cut_off() -> None:
        async with house.running(name) as run:
            desk.asked_for_room = run.cancel  # As the first line gets its place.
            with contextlib.suppress(asyncio.CancelledError):
                await run
        assert desk.calls == []
        desk.asked_for_room = lambda: None
        await asyncio.wait_for(house.stages.places.take("m"), 5)

    asyncio.run(cut_off())
    house.database.close()


def test_a_batch_whose_results_can_never_be_kept_ends(tmp_path: Path) -> None:
    house = House(tmp_path)
    name = house.add(many(3))

    def lose(_call: Call, _try: int) -> None:
        with house.database.writing() as db:
            db.exec_driver_sql("DELETE FROM job_batches")

    house.desk.reply = lose

    async def work() -> None:
        await house.stages.check(name)
        working = asyncio.ensure_future(house.stages.work(name))
        done, _ = await asyncio.wait({working}, timeout=5)
        assert done
        assert isinstance(working.exception(), NotFound)

    asyncio.run(work())
    house.database.close()


class Cloudy:
    """Rules under which a model is elsewhere, and lines may spill."""

    def __init__(self, *addresses: str, spill: bool = False) -> None:
        self.addresses = addresses
        self.spill = spill

    def needs_network(self, line: GenerateRequest) -> Sequence[str]:
        return self.addresses

    def may_spill(self, line: GenerateRequest) -> bool:
        return self.spill


def test_what_needs_the_network_waits_until_it_is_back(tmp_path: Path) -> None:
    network = AlwaysOnline()
    network.up = False
    house = House(tmp_path, rules=Cloudy("https://cloud.example"), network=network)
    name = house.add(many(3))

    async def outage() -> None:
        async with house.running(name) as run:
            await until(lambda: house.stages.hold(name))
            hold = house.stages.hold(name)
            assert hold
            assert (hold.reason, house.desk.calls) == ("network", [])
            network.up = True
            await house.clock.turn_to(house.clock.now() + 60)
            assert await run == "completed"

    asyncio.run(outage())
    assert len(house.output(name)) == 3
    house.database.close()


@pytest.mark.parametrize(
    ("rules", "batch", "up"), [(True, True, True), (False, True, True), (True, False, True),
                               (True, True, False)])  # fmt: skip
def test_near_the_deadline_lines_may_go_to_a_cloud_if_rules_batch_and_network_allow(
    tmp_path: Path, rules: bool, batch: bool, up: bool
) -> None:
    network = AlwaysOnline()
    network.up = up
    house = House(tmp_path, rules=Cloudy(spill=rules), window=NIGHT, network=network)
    allowed = rules and batch and up

    async def deadline() -> None:
        await house.clock.turn_to(_next(house, 12))
        name = house.add(many(3), expires_at=int(house.clock.now()) + 3600, spill=batch)
        async with house.running(name) as run:
            await until(lambda: house.stages.hold(name))
            assert house.desk.calls == []
            await house.clock.turn_to(house.clock.now() + 3500)
            if allowed:
                assert await run == "completed"
                assert all(call.spill for call in house.desk.calls)
            else:
                await settle()
                assert house.desk.calls == []

    asyncio.run(deadline())
    house.database.close()


def fails(error: AssistantError, times: int) -> FakeDesk:
    def reply(call: Call, tries: int) -> AssistantError | None:
        return error if call.request_id.endswith("-1") and tries <= times else None

    return FakeDesk(reply=reply)


@pytest.mark.parametrize(
    "error",
    [
        ModelLoading("It is being loaded.", retry_after=3),
        Overloaded("Too many."),
        EngineDied("It died."),
    ],
)
def test_what_is_not_the_lines_fault_is_tried_again(tmp_path: Path, error: AssistantError) -> None:
    house = House(tmp_path, fails(error, 2))
    name = house.add(many(3))

    async def patience() -> None:
        async with house.running(name) as run:
            while not run.done():
                await house.clock.turn_to(house.clock.now() + 10)
            assert run.result() == "completed"

    asyncio.run(patience())
    assert names(house.output(name)) == ["r0", "r1", "r2"]
    house.database.close()


def test_a_line_that_kills_the_engine_is_given_up(tmp_path: Path) -> None:
    house = House(tmp_path, fails(EngineDied("It died."), 99))
    name = house.add(many(3))

    async def poison() -> None:
        async with house.running(name) as run:
            while not run.done():
                await house.clock.turn_to(house.clock.now() + 10)
            assert run.result() == "completed"

    asyncio.run(poison())
    assert names(house.output(name)) == ["r1", "r2"]
    assert house.errors(name)[0]["response"]["body"]["error"]["code"] == "engine_died"
    assert house.desk.tries[f"{name}-1"] == 3
    house.database.close()


class Fragile(FakeDesk):
    """An engine that one line kills, and with it every line that is under way."""

    death: asyncio.Event | None = None

    async def answer(self, call: Call) -> Answered:
        death = self.death = self.death or asyncio.Event()
        self.calls.append(call)
        if call.request_id.endswith("-5"):
            await asyncio.sleep(0.005)
            self.death = None
            death.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(death.wait(), 0.02)
            raise EngineDied("It died.")
        return Answered(status=200, body=b"{}", request_id=call.request_id)


def test_a_line_that_kills_the_engine_takes_no_other_along(tmp_path: Path) -> None:
    house = House(tmp_path, Fragile(places=10))
    name = house.add(many(20))

    async def poison() -> None:
        async with house.running(name) as run:
            while not run.done():
                await house.clock.turn_to(house.clock.now() + 1)

    asyncio.run(poison())
    assert names(house.errors(name)) == ["r4"]
    assert len(house.output(name)) == 19
    house.database.close()


def test_an_error_of_another_kind_ends_the_line_only(tmp_path: Path) -> None:
    house = House(tmp_path, fails(InvalidRequest("No."), 99))
    name = house.add(many(2))
    asyncio.run(house.run(name))
    assert names(house.output(name)) == ["r1"]
    house.database.close()


def test_while_the_disk_is_full_it_waits_and_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_assistant.jobs.record._AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("ai_assistant.jobs.shift._DISK_SECONDS", 0.01)
    name = house.add([line(f"r{i}", body={"model": "m", "x": "y" * 5000}) for i in range(40)])

    disk = FullDisk(house.database)

    async def full() -> None:
        disk.fill(spare=8)
        async with house.running(name) as run:
            await until(lambda: house.stages.hold(name))
            hold = house.stages.hold(name)
            assert hold
            assert hold.reason == "disk"
            assert "free some space" in hold.message
            disk.clear()
            assert await asyncio.wait_for(run, 10) == "completed"

    asyncio.run(full())
    assert names(house.output(name)) == [f"r{i}" for i in range(40)]
    assert len(house.desk.calls) == 40, "nothing was asked twice"
