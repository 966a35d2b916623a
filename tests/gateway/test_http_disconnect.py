import json
import time

import pytest
from tests.fakes.running_gateway import (
    HELLO,
    RunningGateway,
    RunningGateways,
    eventually,
    request_bytes,
)

from ai_assistant.protocol.chunks import TokenChunk

STREAM = request_bytes(json.dumps({**HELLO, "stream": True}).encode())
WHOLE = request_bytes(json.dumps(HELLO).encode())


def test_leaving_during_the_upload_asks_nothing(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(WHOLE[:-5])
    time.sleep(0.05)
    assert not gateway.service.asked
    assert gateway.post(json=HELLO).status_code == 200


@pytest.mark.parametrize("request_sent", [STREAM, WHOLE], ids=["stream", "whole"])
def test_leaving_before_the_first_token_cancels(
    gateway: RunningGateway, request_sent: bytes
) -> None:
    gateway.service.script = [60.0]
    with gateway.connect() as connection:
        connection.sendall(request_sent)
        eventually(lambda: gateway.service.asked)
    eventually(lambda: gateway.service.closed, seconds=1)


@pytest.mark.parametrize("request_sent", [STREAM, WHOLE], ids=["stream", "whole"])
def test_leaving_in_the_middle_cancels(gateway: RunningGateway, request_sent: bytes) -> None:
    gateway.service.script = [TokenChunk(text="a"), TokenChunk(text="b"), 60.0]
    with gateway.connect() as connection:
        connection.sendall(request_sent)
        eventually(lambda: gateway.service.sent == 2)
    eventually(lambda: gateway.service.closed, seconds=1)
    assert not gateway.service.ended


def test_leaving_between_tokens_of_a_steady_stream_cancels(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="a"), 0.002] * 20_000
    with gateway.connect() as connection:
        connection.sendall(STREAM)
        connection.recv(100)
    eventually(lambda: gateway.service.closed, seconds=1)


def test_a_reader_that_stops_stalls_the_source_and_is_given_up(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(send_timeout_seconds=0.3)
    gateway.service.script = [TokenChunk(text="x" * 4096)] * 20_000
    with gateway.connect(receive_buffer=4096) as connection:
        connection.sendall(STREAM)
        eventually(lambda: gateway.service.closed)
        assert gateway.service.sent < 5000
        received = b""
        while part := connection.recv(1 << 20):
            received += part
    assert not received.endswith(b"0\r\n\r\n")


def test_a_slow_reader_gets_everything(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(send_timeout_seconds=0.3)
    gateway.service.script = [TokenChunk(text="x" * 4096)] * 1000
    received = b""
    with gateway.connect(receive_buffer=65536) as connection:
        connection.sendall(STREAM)
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(1 << 18)
            time.sleep(0.01)
    assert received.count(b"x" * 4096) == 1000
    assert b'"code":"engine_error"' in received


def test_leaving_while_the_send_is_blocked_cancels(gateway: RunningGateway) -> None:
    gateway.service.script = [TokenChunk(text="x" * 4096)] * 20_000
    with gateway.connect(receive_buffer=4096) as connection:
        connection.sendall(STREAM)
        eventually(lambda: gateway.service.sent > 300)
        time.sleep(0.1)
        assert not gateway.service.closed
    eventually(lambda: gateway.service.closed, seconds=1)
