"""A node's power where the machine does not let itself be looked at."""

import asyncio

import pytest

from ai_assistant.devices.power.keeper import Keeper
from ai_assistant.protocol.errors import Unavailable
from ai_assistant.protocol.status import NodeStatus
from ai_assistant.workers.power import NodePower

STATUS = NodeStatus(version="0", uptime_seconds=1.0, pid=1, memory_bytes=1, models=())


def test_whoever_asks_for_sensors_that_break_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Keeper:
        raise RuntimeError("the driver is gone")

    async def run() -> None:
        power = NodePower(make)
        async with power.kept(lambda: STATUS):
            for _ in range(2):
                with pytest.raises(Unavailable, match="the driver is gone"):
                    await asyncio.wait_for(power.look(), 5)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(power.change("quiet"), 5)
            assert power.status() is None

    asyncio.run(run())
    assert "is not kept" in caplog.text


def test_whoever_waits_when_the_node_stops_is_told_so() -> None:
    async def run() -> None:
        power = NodePower(lambda: None)  # type: ignore[arg-type,return-value] - never begun
        async with power.kept(lambda: STATUS):
            waiting = asyncio.ensure_future(power.look())
        with pytest.raises(Unavailable, match=r"shutting down|cannot be kept"):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(run())
