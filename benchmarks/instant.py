"""A server that speaks OpenAI's API and answers at once, each token in a write of its own.

`python -m benchmarks.instant PORT [TOKENS]`. It costs next to nothing, so what is measured before
it is the program in between.
"""

import asyncio
import json
import sys
from typing import Any, cast

from ai_assistant.gateway.server import new_loop

WORD = "word "
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def answer(tokens: int) -> list[bytes]:
    """The writes of one answer."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "instant"}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        return _chunk({**head, "choices": [_choice(delta, finish)]})

    usage = {"prompt_tokens": 24, "completion_tokens": tokens, "total_tokens": 24 + tokens}
    return [
        HEAD + event({"role": "assistant", "content": ""}),
        *[event({"content": WORD})] * tokens,
        event({}, "stop"),
        _chunk({**head, "choices": [], "usage": usage}),
        _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    ]


def _choice(delta: dict[str, str], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _chunk(event: dict[str, Any]) -> bytes:
    return _framed(b"data: " + json.dumps(event).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Instant(asyncio.Protocol):
    """One connection; it reads no more of a request than where it ends."""

    def __init__(self, writes: list[bytes]) -> None:
        self._writes = writes
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            whole = end + 4 + _length(self._data[:end])
            if len(self._data) < whole:
                return
            get = self._data.startswith(b"GET")
            self._data = self._data[whole:]
            self._transport.writelines([HEALTHY]) if get else self._say()

    def _say(self) -> None:
        for piece in self._writes:
            self._transport.write(piece)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def _serve(port: int, tokens: int) -> None:
    writes = answer(tokens)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Instant(writes), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    tokens = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), tokens))


if __name__ == "__main__":
    main()
