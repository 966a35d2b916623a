import json
import socket
from contextlib import suppress

import pytest
from tests.fakes.running_gateway import (
    HELLO,
    RunningGateway,
    RunningGateways,
    request_bytes,
)

CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def head_of(connection: socket.socket) -> bytes:
    return connection.recv(65536).partition(b"\r\n")[0]


def test_fifty_megabytes_are_refused(gateway: RunningGateway) -> None:
    error = gateway.error(413, content=b"x" * (50 << 20))
    assert error["code"] == "request_too_large"


def test_a_length_over_the_limit_is_refused_before_the_body(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(request_bytes(b"{", length=50 << 20))
        assert head_of(connection).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_refused_when_it_passes_the_limit(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(max_body_bytes=1 << 20)
    with gateway.connect() as connection:
        connection.sendall(CHUNKED + CHUNK * 20)
        assert head_of(connection).startswith(b"HTTP/1.1 413")


def test_a_connection_survives_a_refused_body(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(max_body_bytes=1 << 20)
    big = b"x" * (2 << 20)
    with gateway.connect() as connection:
        connection.sendall(request_bytes(big) + request_bytes(json.dumps(HELLO).encode()))
        answers = b""
        while b"HTTP/1.1 200" not in answers:
            answers += connection.recv(65536)
    assert answers.startswith(b"HTTP/1.1 413")


def test_a_body_in_pieces_is_put_together(gateway: RunningGateway) -> None:
    text = "x" * 300_000
    body = {"messages": [{"role": "user", "content": text}]}
    assert gateway.post(json=body).status_code == 200
    prompt = gateway.service.asked[0].prompt
    assert text in repr(prompt)


def test_a_body_that_stops_coming_is_given_up(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(upload_timeout_seconds=0.2)
    with gateway.connect() as connection:
        connection.sendall(request_bytes(b'{"a":', length=100))
        assert head_of(connection).startswith(b"HTTP/1.1 408")


def test_headers_that_stop_coming_are_given_up(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(upload_timeout_seconds=0.2)
    for start in (b"", b"GET /livez HTTP/1.1\r\nHost: loc"):
        with gateway.connect() as connection:
            connection.sendall(start)
            assert connection.recv(100) == b""


@pytest.mark.parametrize("ended", [True, False])
def test_headers_over_the_limit_are_refused(gateway: RunningGateway, ended: bool) -> None:
    lines = b"".join(b"X-Header-%d: %s\r\n" % (i, b"y" * 1000) for i in range(80))
    with gateway.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n" * ended)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"code":"request_too_large"' in answer
    assert b"x-request-id" in answer


def test_one_endless_header_is_refused(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        answer = b""
        connection.settimeout(0.005)
        while not answer:
            connection.sendall(b"y" * 8192)
            with suppress(TimeoutError):
                answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 431")


def test_a_long_body_after_long_headers_is_no_header(gateway: RunningGateway) -> None:
    body = json.dumps({**HELLO, "user": "u" * 200_000}).encode()
    with gateway.connect() as connection:
        connection.sendall(request_bytes(body))
        assert head_of(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "line", [b"NONSENSE\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_what_is_not_http_gets_a_named_error(gateway: RunningGateway, line: bytes) -> None:
    with gateway.connect() as connection:
        connection.sendall(line)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"invalid_request"' in answer


def test_requests_in_one_packet_are_answered_in_order(gateway: RunningGateway) -> None:
    get = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with gateway.connect() as connection:
        connection.sendall(get * 3)
        answers = b""
        while answers.count(b'{"status":"ok"}') < 3:
            answers += connection.recv(65536)
