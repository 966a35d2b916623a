"""A long answer goes to another node, with its KV blocks and without: what the client hears, and
how soon the other one is ready.

`python -m benchmarks.hand_over [--model 0.5b] [--words 1500] [--link 0] [--ways with without]`

Two nodes on this machine with one thread each. An answer to so many words is being written at one
of them and is handed over by `POST /admin/models/{id}/hand-over`. The other node is reached through
a proxy of so many bytes a second (0: as many as go); for `without` it hides the address that takes
blocks, so that the other node computes. The time until it is ready is the move's own; the silence
is the longest one of the stream from the move on, beside its longest before.
"""

import argparse
import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from benchmarks import node
from benchmarks.client import chat, exchange
from benchmarks.models import ensure
from benchmarks.servers import Server

RULES = '[unlabelled]\nallow = ["machine", "lan"]\n'
WORDS = ("boat", "river", "stone", "bread", "winter", "lamp", "garden", "paper", "music", "letter")


@contextlib.asynccontextmanager
async def proxy(port: int, rate: float, hidden: bytes) -> AsyncGenerator[int]:
    """The port of a proxy; requests to the hidden path meet a path that nobody knows."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 14):
                if up and hidden:
                    data = data.replace(b"POST " + hidden, b"POST " + b"/" * len(hidden))
                if rate:
                    await asyncio.sleep(len(data) / rate)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(asyncio.CancelledError):  # the end of the measurement
            await asyncio.gather(pump(reader, out, True), pump(there, writer, False))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 14)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.contextmanager
def speaking(model: Path, port: int) -> Generator[Server]:
    """A node that may hand answers of its model to the one at that port."""
    with node.data_folder() as folder:
        (folder / "config.toml").touch()
        (folder / "policy.toml").write_text(RULES)
        (folder / "providers.toml").write_text(
            f'[desk]\nkind = "ai-assistant"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
            f"[desk.deadlines]\nfirst_token = 300\n"
            f'[[desk.models]]\nid = "{model.stem}"\nnames = ["{model.stem}"]\n'
        )
        own = {
            "AI_ASSISTANT_CONFIG": str(folder / "config.toml"),
            "AI_ASSISTANT_ENGINE_THREADS": "1",
        }
        with node.start(model, slots=2, context=8192, environment=own, data=folder) as server:
            yield server


def prompt(words: int) -> str:
    """Words that no node has seen."""
    return " ".join(random.choice(WORDS) for _ in range(words)) + ". Tell a long story."


def written(server: Server) -> int:
    """Tokens of answers so far."""
    return node.engine_status(server).get("generated_tokens", 0)


async def handed_over(server: Server, model: str, words: int, tokens: int) -> dict[str, float]:
    """One answer and its move."""
    before = written(server)
    running = asyncio.create_task(chat(server, prompt(words), tokens))
    while written(server) < before + 8:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    begun = time.perf_counter()
    reply = await exchange(
        server, f"/admin/models/{model}/hand-over", json.dumps({"to": "desk"}).encode()
    )
    done = time.perf_counter()
    told = json.loads(b"".join(piece for _, piece in reply.pieces))
    answer = await running
    return {
        "first": answer.silences[0][0] - answer.started,
        "gone": told["gone"],
        "ready": done - begun,
        "silence": max(gap for at, gap in answer.silences if at + gap >= begun),
        "usual": max((gap for at, gap in answer.silences if at + gap < begun), default=0.0),
    }


async def measure(args: argparse.Namespace) -> None:
    """Each way, on nodes of its own."""
    model = ensure(args.model)
    for way in args.ways:
        hidden = b"/admin/kv-blocks" if way == "without" else b""
        own = {"AI_ASSISTANT_ENGINE_THREADS": "1"}
        with node.start(model, slots=2, context=8192, environment=own) as desk:
            async with proxy(desk.port, args.link, hidden) as port:
                with speaking(model, port) as server:
                    await handed_over(server, model.stem, 30, 200)  # both are awake
                    found = await handed_over(server, model.stem, args.words, args.tokens)
                    lines = server.log.read_text().splitlines()
        shown = "  ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"{way:8} {shown}", flush=True)
        print("\n".join(line for line in lines if "KV blocks" in line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="0.5b")
    parser.add_argument("--words", type=int, default=1500)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--link", type=float, default=0.0)
    parser.add_argument("--ways", nargs="+", default=["with", "without"])
    asyncio.run(measure(parser.parse_args()))
