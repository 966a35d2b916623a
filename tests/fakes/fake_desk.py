"""Answers the lines of batches from a script, and remembers what it was asked."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from ai_assistant.jobs.ports import Call
from ai_assistant.jobs.results import Answered
from ai_assistant.protocol.errors import AssistantError, RateLimited, Unavailable
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt

Reply = Callable[[Call, int], AssistantError | None]
"""What happens to a call at its n-th try: an error, or an answer."""


@dataclass
class FakeDesk:
    """Implements `jobs.ports.Desk`."""

    reply: Reply = lambda _call, _try: None
    places: int = 4
    enough: Callable[[str], bool] = lambda _owner: False
    """Whether that owner must wait."""
    bars: Callable[[str], str] = lambda _owner: ""
    """Why that owner's lines are not answered any more."""
    asked_for_room: Callable[[], object] = lambda: None
    gate: asyncio.Event | None = None
    """Answers wait for it."""
    calls: list[Call] = field(default_factory=list[Call])
    tries: Counter[str] = field(default_factory=Counter[str])
    under_way: int = 0
    most: int = 0
    """Calls that were under way at once."""

    async def answer(self, call: Call) -> Answered:
        self.calls.append(call)
        self.tries[call.request_id] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            error = self.reply(call, self.tries[call.request_id])
            if error is not None:
                raise error
        finally:
            self.under_way -= 1
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        body = {"model": "m", "echo": msgspec.Raw(call.body), "usage": usage}
        return Answered(status=200, body=msgspec.json.encode(body), request_id=call.request_id)

    def barred(self, owner: str) -> str:
        return self.bars(owner)

    def limited(self, owner: str) -> Unavailable | None:
        return RateLimited("Enough.", retry_after=30) if self.enough(owner) else None

    def failure(self, error: AssistantError, request_id: str) -> Answered:
        body = {"error": {"code": error.code, "message": error.message}}
        return Answered(status=500, body=msgspec.json.encode(body), request_id=request_id)

    def model_of(self, name: str | None, owner: str) -> str:
        return name or "m"

    def outline(self, call: Call, model: str) -> GenerateRequest:
        return GenerateRequest(
            request_id=call.request_id, model=model, prompt=TextPrompt(""), tenant=call.owner
        )

    def room(self, model: str) -> int:
        self.asked_for_room()
        return self.places
