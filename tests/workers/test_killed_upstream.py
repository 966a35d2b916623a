"""A server that is killed while it speaks, and another that goes on."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from tests.system.running_node import RunningNode
from tests.workers.remote_tools import chat, collect, text_of, worker_at

from ai_assistant.protocol.errors import ProviderError, ProviderUnreachable, StreamBroken
from ai_assistant.protocol.requests import Partial, Sampling
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.worker import RemoteWorker

CALM = Deadlines(connect=2, first_token=20, between_tokens=5)
STARTER = {"id": "starter", "names": ("starter",)}
LONG = chat(
    "Tell me a story.", model="starter", sampling=Sampling(temperature=1.0, seed=1),
    max_tokens=1500, ignore_eos=True,
)  # fmt: skip


async def cut_off(worker: RemoteWorker, kill: int) -> tuple[str, ProviderError]:
    """The text until the process `kill` was killed, and the error."""
    text, pieces = "", 0
    try:
        async for chunk in worker.generate(LONG):
            text += chunk.text
            pieces += 1
            if pieces == 4:
                os.kill(kill, signal.SIGKILL)
    except ProviderError as error:
        return text, error
    raise AssertionError("it went on to the end")


def test_an_answer_goes_on_elsewhere_after_kill_9(
    upstream_node: RunningNode, tmp_path: Path
) -> None:
    victim = RunningNode(tmp_path)
    victim.wait_ready()
    engine = victim.wait_ready()["engine"]["pid"]

    async def run() -> None:
        url = victim.url + "/v1"
        async with worker_at(url, "ai-assistant", model=STARTER, deadlines=CALM) as worker:
            # The engine dies, the node lives and says so inside the stream.
            text, error = await cut_off(worker, engine)
            assert not isinstance(error, StreamBroken)
            assert error.reached.characters == len(text) > 0
            victim.wait_ready()
            # The node dies: the connection does.
            text, error = await cut_off(worker, victim.process.pid)
            assert type(error) is StreamBroken
            assert error.reached.characters == len(text) > 0
            await asyncio.to_thread(victim.process.wait)
            began = time.monotonic()
            with pytest.raises(ProviderUnreachable):
                await collect(worker, LONG)
            assert time.monotonic() - began < 0.5
            facts = worker.facts()
            assert (facts.state, facts.last_error) == ("cooling", "provider_unreachable")
            assert facts.again_in > 0
        url = upstream_node.url + "/v1"
        async with worker_at(url, "ai-assistant", model=STARTER, deadlines=CALM) as worker:
            partial = Partial(text=text, generated=error.reached.tokens)
            request = chat("Tell me a story.", model="starter", max_tokens=1500, partial=partial)
            chunks = await collect(worker, request)
            assert text_of(chunks)
            assert chunks[-1].usage
            assert chunks[-1].usage.completion_tokens <= 1500 - partial.generated

    try:
        asyncio.run(run())
    finally:
        victim.process.kill()
        victim.stop()
