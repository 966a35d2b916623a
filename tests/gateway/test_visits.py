"""What one exchange takes from its key's account, however it ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.fake_service import FakeService, say

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.visit import Visit
from ai_assistant.gateway.keys import read_key
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt

ANN = read_key("k name=ann tokens-per-minute=1000 concurrency=2")
ASK = GenerateRequest(request_id="r", model="starter", prompt=TextPrompt("hi"))


class StuckService(FakeService):
    """One whose iterator cannot be closed in order."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        try:
            for word in ("a", "b", "c"):
                yield TokenChunk(text=word)
        finally:
            raise RuntimeError("It does not end.")


def test_what_was_computed_counts_also_where_closing_fails() -> None:
    accounts = Accounts()

    async def run() -> None:
        pieces = Visit(StuckService(), ANN, accounts).generate(ASK)
        async for _ in pieces:
            break
        with pytest.raises(RuntimeError, match="does not end"):
            await pieces.aclose()

    asyncio.run(run())
    key = accounts.account("key:ann")
    assert (key.total.prompt_tokens, key.total.completion_tokens) == (1, 1)
    assert key.running == 0


def test_an_answer_that_tells_its_usage_twice_is_over_once() -> None:
    accounts = Accounts()
    told = TokenChunk(usage=Usage(prompt_tokens=5, completion_tokens=2))
    service = FakeService(script=[*say("a", "b"), told])

    async def run() -> None:
        visit = Visit(service, ANN, accounts)
        first, second = visit.generate(ASK), visit.generate(ASK)
        await anext(second)  # The exchange's other answer goes on meanwhile.
        assert len([chunk async for chunk in first]) == 4
        assert accounts.account("key:ann").running == 1
        await second.aclose()
        assert accounts.account("key:ann").running == 0

    asyncio.run(run())
