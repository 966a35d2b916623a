"""Failover as a client sees it: refused keys, rests, tries after a rest, and deadlines."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest
from benchmarks.speaker import Speaker, text_for
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.system.running_node import RunningNode


@dataclass
class Door:
    """A provider that fails as it is told to, and counts."""

    fault: Fault = field(default_factory=Fault)
    asked: list[float] = field(default_factory=list[float])
    begun: list[str] = field(default_factory=list[str])

    def route(self, request: bytes) -> tuple[Fault, bytes]:
        self.asked.append(time.monotonic())
        last = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]
        self.begun.append(last["content"] if last["role"] == "assistant" else "")
        return self.fault, request


class House:
    """A node with two providers that know the same text: `first`, which fails, and `second`."""

    def __init__(self, folder: Path, first: str, second: str, doors: tuple[Door, Door]) -> None:
        self.first, self.second = doors
        folder.mkdir(exist_ok=True)
        (folder / "providers.toml").write_text(
            "".join(
                f'[{name}]\nkind = "llama-server"\nbase_url = "{url}/v1"\n'
                f"[{name}.deadlines]\nfirst_token = 0.6\nbetween_tokens = 0.5\n"
                f'[[{name}.models]]\nid = "m"\nnames = ["far"]\n'
                for name, url in (("first", first), ("second", second))
            )
        )
        self.node = RunningNode(folder)
        self.number = 0

    def ask(self) -> str:
        """One answer, streamed, which must be right."""
        self.number += 1
        question = f"question {self.number}"
        stream = self.node.openai.chat.completions.create(
            model="far", messages=[{"role": "user", "content": question}], stream=True
        )
        text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
        assert text == text_for(question)
        return text


@contextmanager
def speaking() -> Iterator[str]:
    """A speaker on a thread of its own; its address."""
    up, stop = threading.Event(), asyncio.Event()
    found: list[tuple[asyncio.AbstractEventLoop, int]] = []

    async def serve() -> None:
        async with Speaker().running() as speaker:
            found.append((asyncio.get_running_loop(), speaker.port))
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    up.wait(10)
    try:
        yield f"http://127.0.0.1:{found[0][1]}"
    finally:
        found[0][0].call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    doors = (Door(), Door())
    with (
        speaking() as url,
        FaultProxy(url, route=doors[0].route).in_thread() as first,
        FaultProxy(url, route=doors[1].route).in_thread() as second,
    ):
        found = House(tmp_path / "front", first.url, second.url, doors)
        yield found
        found.node.stop()


def test_a_refused_key_is_not_tried_again(house: House) -> None:
    house.first.fault = Fault("status", status=401, body=b'{"error": {"message": "bad key"}}')
    for _ in range(4):
        house.ask()
    assert len(house.first.asked) == 1
    assert len(house.second.asked) == 4


def test_after_its_rest_one_request_tries_it(house: House) -> None:
    house.first.fault = Fault("status", status=503, headers={"retry-after": "1"}, body=b"{}")
    house.ask()
    house.ask()
    assert len(house.first.asked) == 1  # it rests
    # Still failing: of many at once one tries it, and it rests again, longer.
    time.sleep(1.1)
    house.first.fault = Fault("silent")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: house.ask(), range(8)))
    assert len(house.first.asked) == 2
    house.ask()
    assert len(house.first.asked) == 2
    # Well again: the one that tries it ends the rest for all.
    house.first.fault = Fault()
    deadline = time.monotonic() + 10
    while len(house.first.asked) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        house.ask()
    before = len(house.second.asked)
    house.ask()
    assert len(house.second.asked) == before


@pytest.mark.parametrize("kind", ["silent", "pings"])
def test_the_next_one_is_asked_at_the_deadline(house: House, kind: str) -> None:
    house.ask()  # connections, imports
    house.first.fault = Fault(kind)  # type: ignore[arg-type]
    house.ask()
    waited = house.second.asked[0] - house.first.asked[-1]
    assert waited == pytest.approx(0.6, abs=0.15)


@pytest.mark.parametrize("kind", ["stall", "stall-pings", "reset", "close", "garbage"])
def test_a_broken_answer_goes_on_at_its_character(house: House, kind: str) -> None:
    house.first.fault = Fault(kind, after=7)  # type: ignore[arg-type]
    text = house.ask()
    (begun,) = house.second.begun
    assert begun
    assert text.startswith(begun)


def test_what_is_the_requests_fault_is_asked_once(house: House) -> None:
    house.first.fault = Fault(
        "status", status=400, body=b'{"error": {"message": "no", "type": "invalid_request_error"}}'
    )
    with pytest.raises(openai.APIStatusError) as refused:
        house.ask()
    assert refused.value.status_code == 400
    assert house.second.asked == []
