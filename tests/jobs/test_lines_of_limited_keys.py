"""Lines of batches count against their owner's limits: they wait, and nobody else for them."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.fake_desk import FakeDesk
from tests.fakes.fake_service import FakeService
from tests.fakes.hand_clock import until
from tests.jobs.bench_house import CHAT, House, many, names

from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.keys import read_key
from ai_assistant.gateway.sender import write_owner
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.jobs.ports import Call
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.protocol.errors import RateLimited

BODY = b'{"model": "starter", "messages": [{"role": "user", "content": "hi"}]}'


def call(owner: str, number: int) -> Call:
    return Call(endpoint=CHAT, body=BODY, owner=owner, request_id=f"b-{number}")


def test_a_line_over_the_limit_is_not_answered_and_not_failed() -> None:
    line = "k name=ann requests-per-minute=1"
    settings = GatewaySettings(api_keys=(line,))
    access = Access(settings.api_keys)
    desk = Desk(FakeService(), settings, access=access)
    owner = write_owner(read_key(line))

    async def ask() -> None:
        assert desk.limited(owner) is None
        assert (await desk.answer(call(owner, 1))).status == 200
        limited = desk.limited(owner)
        assert limited is not None
        assert 50 < (limited.retry_after or 0) <= 60
        with pytest.raises(RateLimited) as refused:
            await desk.answer(call(owner, 2))
        assert refused.value.retry_after

    asyncio.run(ask())


def test_a_line_of_a_key_that_was_taken_away_is_refused(tmp_path: Path) -> None:
    owner = write_owner(read_key("k name=gone"))
    stored = owner.replace('"stored":false', '"stored":true')
    assert stored != owner
    service = FakeService()
    desk = Desk(service, GatewaySettings(), access=Access((), keys=tmp_path / "keys.json"))

    async def ask() -> None:
        assert (await desk.answer(call(stored, 1))).status == 401
        assert desk.limited(stored) is None

    asyncio.run(ask())
    assert service.asked == []


def test_the_status_tells_nobody_what_others_wait_for(tmp_path: Path) -> None:
    settings = GatewaySettings(api_keys=("a name=ann team=lab requests-per-minute=1", "b name=bob"))
    access = Access(settings.api_keys)
    service = FakeService()

    async def run() -> None:
        desk = Desk(service, settings, access=access)
        jobs = Jobs(tmp_path, JobsSettings(), desk)
        app = build_app(service, settings, jobs=jobs, access=access)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost"
        ) as client:

            async def status(key: str) -> Any:
                headers = {"Authorization": f"Bearer {key}"}
                return (await client.get("/status", headers=headers)).json()["jobs"]

            lines = "\n".join(line.replace('"m"', '"starter"') for line in many(2))
            headers = {"Authorization": "Bearer a"}
            sent = await client.post(
                "/v1/files",
                data={"purpose": "batch"},
                files={"file": ("in.jsonl", lines.encode())},
                headers=headers,
            )
            order = {
                "input_file_id": sent.json()["id"], "endpoint": CHAT, "completion_window": "24h"
            }  # fmt: skip
            await client.post("/v1/batches", json=order, headers=headers)
            hers = await status("a")
            try:
                for _ in range(300):
                    if hers["waiting"]:
                        break
                    await asyncio.sleep(0.02)
                    hers = await status("a")
                his = await status("b")
            finally:
                await jobs.stop()
        assert hers["waiting"] == his["waiting"] == {"limit": 1}
        assert "requests a minute" in hers["messages"][0]
        assert his["messages"] == []

    asyncio.run(run())


LINE = "k name=ann models=starter requests-per-minute=5"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), "is gone or switched off"),
        (("k name=bob",), "is gone or switched off"),
        ((f"{LINE} expires=2020-01-01",), "expired on 2020-01-02"),
        (("k name=ann models=big", "l name=ann class=batch"), "send it again"),
        (("k name=ann models=big",), ""),
        ((LINE, "l name=ann class=batch requests-per-minute=5"), ""),
    ],
)
def test_a_line_of_the_settings_is_looked_up_as_it_reads_today(
    lines: tuple[str, ...], says: str
) -> None:
    owner, service = write_owner(read_key(LINE)), FakeService()
    desk = Desk(service, GatewaySettings(), access=Access(lines))
    assert says in desk.barred(owner)
    assert bool(desk.barred(owner)) == bool(says)
    answered = asyncio.run(desk.answer(call(owner, 1)))
    if says:
        assert answered.status == 401
    else:
        assert answered.status == (200 if lines[0] == LINE else 403), "by the models of today"
    assert len(service.asked) == (answered.status == 200)


def test_a_batch_whose_key_is_taken_away_stops_and_says_why(tmp_path: Path) -> None:
    gone: list[str] = []
    desk = FakeDesk(places=1, bars=lambda _: "".join(gone))
    house = House(tmp_path, desk)
    name = house.add(many(6))

    def reply(asked: Call, _try: int) -> None:
        if len(desk.calls) == 2:
            gone.append("The API key is gone.")

    desk.reply = reply
    assert asyncio.run(house.run(name)) == "failed"
    batch = house.books.batch(name)
    assert batch.status == "failed"
    assert "The API key is gone." in batch.errors[0].message
    assert len(desk.calls) == 2
    assert (batch.counts.completed, batch.counts.failed) == (2, 4)
    assert len(house.errors(name)) == 4
    house.database.close()


def test_lines_wait_while_their_owner_has_had_enough_and_others_go_on(tmp_path: Path) -> None:
    left = {"ann": 2, "bob": 99}

    def reply(asked: Call, _try: int) -> RateLimited | None:
        left[asked.owner] -= 1
        return RateLimited("Enough.", retry_after=30) if left[asked.owner] < 0 else None

    desk = FakeDesk(reply=reply, places=2, enough=lambda owner: left[owner] <= 0)
    house = House(tmp_path, desk)
    ann, bob = house.add(many(6), owner="ann"), house.add(many(6), owner="bob")

    async def work() -> None:
        async with house.running(ann) as hers:
            await until(lambda: (hold := house.stages.hold(ann)) and hold.reason == "limit")
            assert not hers.done()
            async with house.running(bob) as his:
                assert await asyncio.wait_for(his, 10) == "completed"
            left["ann"] = 99
            while not hers.done():
                await house.clock.turn_to(house.clock.now() + 30)
            assert hers.result() == "completed"

    asyncio.run(work())
    for name in (ann, bob):
        assert names(house.output(name)) == [f"r{i}" for i in range(6)]
        assert house.errors(name) == []
    house.database.close()
