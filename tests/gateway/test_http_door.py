"""Overload: who is let in, who is sent away, and what they are told."""

import json
import time
from contextlib import ExitStack

import pytest
from tests.fakes.running_gateway import (
    HELLO,
    RunningGateway,
    RunningGateways,
    eventually,
    request_bytes,
)

from ai_assistant.gateway.door import Places
from ai_assistant.protocol.errors import Overloaded

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def admitted(places: Places, tenant: str, count: int = 1000, *, urgent: bool = False) -> int:
    """How many of so many are let in."""
    for number in range(count):
        try:
            places.enter(tenant, urgent=urgent)
        except Overloaded:
            return number
    return count


def test_one_tenant_alone_leaves_room_for_another() -> None:
    places = Places(100, shared=True)
    assert admitted(places, "greedy") == 66
    assert admitted(places, "newcomer") >= 15


def test_busy_tenants_come_to_equal_shares() -> None:
    places = Places(136, shared=True)
    held = dict.fromkeys("abc", 0)
    for _ in range(1000):
        for tenant in held:
            held[tenant] += admitted(places, tenant, 1)
    assert max(held.values()) - min(held.values()) <= 1
    assert sum(held.values()) >= 105


def test_a_greedy_tenant_gets_no_more_while_it_holds_too_much() -> None:
    places = Places(100, shared=True)
    admitted(places, "greedy")
    admitted(places, "newcomer", 10)
    for _ in range(20):
        places.leave("greedy")
    assert admitted(places, "greedy", 20) < 20
    assert admitted(places, "newcomer", 10) == 10


def test_where_there_is_one_tenant_it_may_have_all() -> None:
    places = Places(100, shared=False)
    assert admitted(places, "") == 88
    assert admitted(places, "", urgent=True) == 12


def test_a_place_is_free_again() -> None:
    places = Places(1, shared=True)
    for _ in range(3):
        assert admitted(places, "a") == 1
        places.leave("a")


def test_the_wait_is_that_of_an_answer_of_late() -> None:
    places = Places(1, shared=False)
    assert places.wait() == 5
    places.note_answer(30)
    assert places.wait() == 30
    for _ in range(100):
        places.note_answer(0.01)
    assert places.wait() == 1
    places.note_answer(100_000)
    assert places.wait() == 60


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_house_sends_away_and_says_when_to_come(
    gateways: RunningGateways, stream: bool
) -> None:
    gateway = gateways.with_settings(max_requests=2)
    gateway.service.script = [60.0]
    with ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(gateway.connect())
            connection.sendall(request_bytes(json.dumps(HELLO).encode()))
        eventually(lambda: len(gateway.service.asked) == 2)
        answer = gateway.post(json={**HELLO, "stream": stream})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "overloaded"
        assert gateway.get("/status").status_code == 200
    eventually(lambda: len(gateway.service.closed) == 2)
    gateway.service.script = None
    assert gateway.post(json=HELLO).status_code == 200


def test_a_tenant_that_took_its_share_leaves_places_for_others(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(max_requests=4, api_keys=("a name=a", "b name=b"))
    gateway.service.script = [60.0]
    body = json.dumps(HELLO).encode()
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(gateway.connect())
            marked = request_bytes(body).replace(b"Host", b"X-API-Key: a\r\nHost", 1)
            connection.sendall(marked)
        eventually(lambda: len(gateway.service.asked) == 3)
        assert gateway.post(json=HELLO, headers={"x-api-key": "a"}).status_code == 429
        gateway.service.script = None
        assert gateway.post(json=HELLO, headers={"x-api-key": "b"}).status_code == 200
    eventually(lambda: len(gateway.service.closed) == 3)


def test_the_last_eighth_is_for_those_who_wait_at_a_screen(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(max_requests=8, api_keys=("a name=a", "b name=a class=batch"))
    gateway.service.script = [60.0]
    urgent = {"x-api-key": "a", "x-priority": "interactive"}
    marked = request_bytes(json.dumps(HELLO).encode()).replace(b"Host", b"X-API-Key: a\r\nHost", 1)
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(gateway.connect()).sendall(marked)
        eventually(lambda: len(gateway.service.asked) == 7)
        gateway.service.script = None
        assert gateway.post(json=HELLO, headers={"x-api-key": "a"}).status_code == 429
        assert gateway.post(json=HELLO, headers={**urgent, "x-api-key": "b"}).status_code == 429
        assert gateway.post(json=HELLO, headers=urgent).status_code == 200
    eventually(lambda: len(gateway.service.closed) == 7)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_of_an_engine_is_told_before_the_stream(
    gateway: RunningGateway, stream: bool
) -> None:
    gateway.service.script = [0.05, Overloaded("512 requests wait already.", retry_after=5)]
    answer = gateway.post(json={**HELLO, "stream": stream})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 5
    assert answer.json()["error"]["type"] == "overloaded_error"


def test_a_connection_too_many_is_told_when_it_asks(gateways: RunningGateways) -> None:
    with gateways.alone(max_connections=2) as (gateway, _), ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(gateway.connect())
            connection.sendall(GET)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        crowd = stack.enter_context(gateway.connect())
        crowd.sendall(GET)
        answer = crowd.recv(1000)
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"retry-after: " in answer
        assert b'"code":"overloaded"' in answer
        assert crowd.recv(1000) == b""


def test_connections_far_over_the_limit_are_cut(gateways: RunningGateways) -> None:
    with gateways.alone(max_connections=2) as (gateway, _), ExitStack() as stack:
        crowd = [stack.enter_context(gateway.connect()) for _ in range(5)]
        began = time.monotonic()
        assert crowd[-1].recv(100) == b""
        assert time.monotonic() - began < 1


def test_a_crowd_that_asks_nothing_is_closed_soon(gateways: RunningGateways) -> None:
    with gateways.alone(max_connections=1) as (gateway, _), ExitStack() as stack:
        stack.enter_context(gateway.connect())
        crowd = stack.enter_context(gateway.connect())
        began = time.monotonic()
        assert crowd.recv(100) == b""
        assert time.monotonic() - began < 10
