"""Answers the lines of batches with the very handlers that answer clients, in the class batch."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.types import Message, Scope

from ai_assistant.gateway import origin, routing_wishes
from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.chat import complete_chat
from ai_assistant.gateway.completions import complete_text
from ai_assistant.gateway.embeddings import embed
from ai_assistant.gateway.errors import error_body, verdict
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.origin import Marked, origin_of
from ai_assistant.gateway.responses import Responses
from ai_assistant.gateway.routing_wishes import wishes_of
from ai_assistant.gateway.said import in_body
from ai_assistant.gateway.sender import origin_of_line, read_owner
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.ports import SPILLED, Call
from ai_assistant.jobs.results import Answered
from ai_assistant.protocol.errors import AccessDenied, AssistantError, RequestError, Unavailable
from ai_assistant.protocol.requests import GenerateRequest, Priority, TextPrompt
from ai_assistant.protocol.routing import NO_WISHES, Wishes, together
from ai_assistant.protocol.status import ModelStatus
from ai_assistant.protocol.worker import Service
from ai_assistant.scheduler.scheduler import DEFAULT_ALIAS

_log = logging.getLogger(__name__)

RESPONSES = "/v1/responses"
BATCHABLE: dict[str, Callable[[Exchange, Service], Awaitable[None]]] = {
    "/v1/chat/completions": complete_chat,
    "/v1/completions": complete_text,
    "/v1/embeddings": embed,
    RESPONSES: Responses().create,
}
"""Endpoints that a batch may name."""
_NEXT_IN_LINE = 2
"""Lines that wait in the engine, so that a slot that becomes free is taken at once."""
_LOOK_SECONDS = 0.5
_KEEP_OFF_SECONDS = 60.0
_ELSEWHERE = 8
"""Lines at once for models of providers, which have their own limits beside."""


class Desk:
    """Implements `jobs.ports.Desk`."""

    def __init__(
        self,
        service: Service,
        settings: GatewaySettings,
        *,
        crowded_at: Callable[[], float] = lambda: float("-inf"),
        access: Access | None = None,
    ) -> None:
        """`crowded_at`: when somebody last found no room for a model, by the monotonic clock."""
        self._service = service
        self._access = access or Access(settings.api_keys)
        self._crowded_at = crowded_at
        self._settings = settings
        self._rooms: dict[str, int] = {}
        self._looked = 0.0

    async def answer(self, call: Call) -> Answered:
        """The endpoint's answer; raises an `AssistantError` that is not the request's fault."""
        said = _Said(_unstored(call.body) if call.endpoint == RESPONSES else call.body)
        try:
            owner = self._owner(call.owner)
            exchange = Exchange(_scope(call, owner), said.receive, said.send, self._settings)
            with self._access.visit(owner, self._service) as service:
                await BATCHABLE[call.endpoint](exchange, Marked(service, exchange))
        except RequestError as error:
            return self.failure(error, call.request_id)
        except AssistantError:
            raise
        except Exception:  # noqa: BLE001 - one bad line must not end the batch
            _log.exception("line %s failed", call.request_id)
            raise AssistantError(
                f"Something went wrong here. See the log: {call.request_id}."
            ) from None
        return Answered(status=said.status, body=bytes(said.body), request_id=call.request_id)

    def limited(self, owner: str) -> Unavailable | None:
        """Why no line of that owner may begin now: it counts against the limits of its key."""
        try:
            return self._access.accounts.refusal(self._owner(owner))
        except AccessDenied:
            return None  # The line itself will say so.

    def barred(self, owner: str) -> str:
        """Why none of that owner's lines may be answered any more; empty: they may."""
        try:
            self._owner(owner)
        except AccessDenied as denied:
            return denied.message
        return ""

    def _owner(self, text: str) -> Caller:
        """Who sent a batch, by what its key may today; raises `AccessDenied`."""
        now = self._access.ring.current(read_owner(text))
        return msgspec.structs.replace(now, ceiling=Priority.BATCH)

    def failure(self, error: AssistantError, request_id: str) -> Answered:
        """The answer that a client would have got for this error."""
        return Answered(status=verdict(error).status, body=error_body(error), request_id=request_id)

    def model_of(self, name: str | None, owner: str) -> str:
        """The model that a line of that owner means."""
        if name and name != DEFAULT_ALIAS:
            return name
        try:
            with self._access.visit(self._owner(owner), self._service) as service:
                return service.default_model() or ""
        except AccessDenied:
            return self._service.default_model() or ""

    def outline(self, call: Call, model: str) -> GenerateRequest:
        """A line without its text, with all that its key, its batch and it itself say."""
        sender = read_owner(call.owner)
        wishes, origin = sender.wishes, origin_of_line(call)
        with contextlib.suppress(AccessDenied, RequestError):  # The line itself will say so.
            owner, said = self._owner(call.owner), _Said(b"")
            exchange = Exchange(_scope(call, owner), said.receive, said.send, self._settings)
            exchange.raw, exchange.said = call.body, in_body(call.body)
            own = Wishes(models=owner.models)
            wishes, origin = together(own, wishes_of(exchange) or NO_WISHES), origin_of(exchange)
        return GenerateRequest(
            request_id=call.request_id,
            model=model,
            prompt=TextPrompt(""),
            tenant=sender.tenant,
            wishes=wishes,
            origin=origin,
        )

    def room(self, model: str) -> int:
        """A line in every slot of the model's engine, and the next ones; one wakes a model.

        None for a while after somebody else needed the memory that batches held.
        """
        if model.endswith(SPILLED):
            return _ELSEWHERE
        now = time.monotonic()
        if now - self._crowded_at() < _KEEP_OFF_SECONDS:
            return 0
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._rooms = {
                status.model.id: _lines_at_once(status)
                for status in self._service.status().models
                if status.state == "ready"
            }
        return self._rooms.get(model, 1)


def _lines_at_once(status: ModelStatus) -> int:
    if status.engine:
        return status.engine.slots + _NEXT_IN_LINE
    return 1 if status.model.path else _ELSEWHERE


def _unstored(body: bytes) -> bytes:
    """Responses of batches are in a file: they are not kept in memory too."""
    return msgspec.json.encode({**msgspec.json.decode(body, type=dict[str, Any]), "store": False})


def _scope(call: Call, owner: Caller) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": call.endpoint,
        "query_string": b"",
        "headers": [],
        "state": {},
        "ai_assistant.request_id": call.request_id,
        "ai_assistant.caller": owner,
        origin.CARRIED: origin_of_line(call),
        routing_wishes.CARRIED: read_owner(call.owner).wishes,
    }


class _Said:
    """Both ends of an exchange without a network: the body goes in, the answer is kept."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 0
        self.body = bytearray()

    async def receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # This client does not go away; cancelling ends it.
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")
