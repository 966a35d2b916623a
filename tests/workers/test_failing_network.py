"""A thousand requests over a network that fails: nothing is lost, nothing stays behind."""

import asyncio
import gc
import json
import random
import socket
import time
from collections import Counter
from typing import Any

import psutil
import pytest
from benchmarks.speaker import Speaker, text_for
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.workers.remote_tools import OpenGate, chat, collect, text_of, worker_at

from ai_assistant.protocol.errors import AssistantError, ProviderError, ProviderUnreachable
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.worker import RemoteWorker

HASTY = Deadlines(connect=0.5, first_token=0.25, between_tokens=0.15)
KINDS: tuple[Any, ...] = (
    "none", "late", "silent", "pings", "stall", "stall-pings", "reset", "close", "garbage", "slow",
    "refuse",
)  # fmt: skip
STATUSES = (401, 404, 429, 500, 502, 503, 529)


def fault_for(question: str) -> Fault:
    """The same question meets the same fault."""
    chance = random.Random(f"fault {question}")
    if chance.random() < 0.15:
        return Fault("status", status=chance.choice(STATUSES), body=b"{}")
    return Fault(
        chance.choice(KINDS),
        after=chance.randint(0, 12),
        seconds=0.0001,
        size=chance.randint(5, 60),
    )


def route(request: bytes) -> tuple[Fault, bytes]:
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    return fault_for(body["messages"][0]["content"]), request


async def outcome(worker: RemoteWorker, number: int, chance: random.Random) -> str:
    """How one request ended; what it said must be the beginning of what is right."""
    question, text = f"question {number}", ""
    pieces = worker.generate(chat(question))
    leaves = chance.random() < 0.1
    failure: AssistantError | None = None
    try:
        async for chunk in pieces:
            text += chunk.text
            if leaves and len(text) > 20:
                return "left"
    except ProviderError as error:
        failure = error
    finally:
        await pieces.aclose()
    if failure is None:
        assert text == text_for(question)
        return "whole"
    assert failure.reached.characters == len(text)
    assert text_for(question).startswith(text)
    return "error"


def test_nothing_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speaker.PAUSE", 0.0)

    async def run() -> None:
        gate = OpenGate()
        process = psutil.Process()
        async with (
            Speaker().running() as speaker,
            FaultProxy(f"http://127.0.0.1:{speaker.port}", route=route).running() as proxy,
            worker_at(proxy.url, deadlines=HASTY, gate=gate, max_requests=256) as worker,
        ):
            chance = random.Random(1)
            told: Counter[str] = Counter()
            settled = 0
            for begin in range(0, 1000, 100):
                numbers = range(begin, begin + 100)
                told.update(await asyncio.gather(*(outcome(worker, n, chance) for n in numbers)))
                if begin == 300:
                    gc.collect()
                    settled = process.memory_info().rss
            assert told["whole"] > 100
            assert told["error"] > 300
            assert sum(told.values()) == 1000
            assert worker.facts().in_flight == 0
            assert len(gate.ends) == len(gate.departures) >= 1000
            await asyncio.sleep(0.1)  # what was closed says good-bye
            mine = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
            assert not {name for name in mine if "Worker" in name or "pieces_of" in name}
            open_now = [
                one
                for one in process.net_connections(kind="tcp")
                if one.raddr and one.raddr.port == proxy.port and one.status == "ESTABLISHED"
            ]
            assert len(open_now) <= 2
            gc.collect()
            assert process.memory_info().rss - settled < 12 << 20

    asyncio.run(run())


def test_a_connection_that_nobody_accepts_is_given_up_in_time() -> None:
    """The address is there and never answers, as behind a firewall."""

    async def run() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            crowd = [socket.socket() for _ in range(4)]
            try:
                for one in crowd:
                    one.setblocking(False)
                    one.connect_ex(listener.getsockname())
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                patient = Deadlines(connect=0.3, first_token=30, between_tokens=30)
                async with worker_at(url, deadlines=patient) as worker:
                    began = time.monotonic()
                    with pytest.raises(ProviderUnreachable) as caught:
                        await collect(worker, chat())
                    assert 0.25 < time.monotonic() - began < 1.5
                    assert caught.value.retry_safe
                    assert worker.facts().state == "cooling"
            finally:
                for one in crowd:
                    one.close()

    asyncio.run(run())


def test_a_spoken_text_comes_whole_in_every_cut() -> None:
    async def run() -> None:
        async with (
            Speaker().running() as speaker,
            worker_at(f"http://127.0.0.1:{speaker.port}", deadlines=HASTY) as worker,
        ):
            for number in range(3):
                chunks = await collect(worker, chat(f"question {number}"))
                assert text_of(chunks) == text_for(f"question {number}")

    asyncio.run(run())
