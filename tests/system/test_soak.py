"""A thousand requests, clients that leave when they like: nothing is lost, nothing stays."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.system.conftest import StartNode


def body(number: int, *, stream: bool) -> dict[str, Any]:
    chance = random.Random(number)
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": f"hello world {number} " * chance.randint(1, 40)}],
        "max_tokens": chance.randint(1, 24),
        "temperature": chance.choice([0, 0.7]),
        "n": chance.choice([1, 1, 1, 2]),
        "stream": stream,
        "ignore_eos": True,
    }


@pytest.mark.slow
def test_clients_that_leave_leave_nothing_behind(
    start_node: StartNode, tiny_models: dict[str, Path]
) -> None:
    node = start_node("--model", str(tiny_models["tiny"]), "--slots", "8")
    node.wait_ready("tiny")
    url = node.url + "/v1/chat/completions"

    def ask(number: int) -> str:
        chance = random.Random(number)
        with httpx.Client(timeout=120) as client:
            if chance.random() < 0.6:
                asked = body(number, stream=False)
                usage = client.post(url, json=asked).raise_for_status().json()["usage"]
                assert usage["completion_tokens"] == asked["max_tokens"] * asked["n"]
                return "whole"
            with client.stream("POST", url, json=body(number, stream=True)) as answer:
                leave_after = chance.randint(0, 12)
                for count, line in enumerate(answer.iter_lines()):
                    if count >= leave_after:
                        return "left"
                    if line == "data: [DONE]":
                        return "streamed"
        return "torn"

    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(ask, range(1000)))
    assert outcomes.count("torn") == 0
    assert outcomes.count("left") > 100
    node.wait_for(lambda: node.model("tiny")["engine"]["running"] == 0)
    engine = node.model("tiny")["engine"]
    assert (engine["waiting"], engine["parked"]) == (0, 0)
    assert engine["cells_used"] == engine["cells_retained"]
    assert node.model("tiny")["restarts"] == 0
