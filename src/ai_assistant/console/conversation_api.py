"""Conversations as a small JSON API under `/console/conversations`."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ai_assistant.protocol.errors import InvalidRequest, RequestTooLarge
from ai_assistant.store.conversations import Conversation, Conversations, Message

MAX_BODY = 32 << 20
Decoded = TypeVar("Decoded")


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a PATCH may change; what is left out stays."""

    title: str | None = None
    model: str | None = None
    settings: dict[str, Any] | None = None


def conversation_routes(conversations: Conversations) -> list[BaseRoute]:
    """One route per address; the store is called in a worker thread."""
    api = _Api(conversations)
    base = "/console/conversations"
    return [
        Route(base, api.index, methods=["GET"]),
        Route(base, api.create, methods=["POST"]),
        Route(f"{base}/export", api.export, methods=["GET"]),
        Route(f"{base}/{{id}}", api.read, methods=["GET"]),
        Route(f"{base}/{{id}}", api.put, methods=["PUT"]),
        Route(f"{base}/{{id}}", api.change, methods=["PATCH"]),
        Route(f"{base}/{{id}}", api.delete, methods=["DELETE"]),
        Route(f"{base}/{{id}}/messages", api.append, methods=["POST"]),
        Route(f"{base}/{{id}}/messages/{{message}}", api.renew, methods=["PUT"]),
    ]


class _Api:
    def __init__(self, conversations: Conversations) -> None:
        self._store = conversations

    async def index(self, request: Request) -> Response:
        query = request.query_params.get("q", "")
        found = await _in_thread(self._store.list, _tenant(request), query)
        return _json({"conversations": found, "notice": self._store.notice})

    async def create(self, request: Request) -> Response:
        fresh = msgspec.structs.replace(await _body(request, Conversation), id="")
        return _json(await _in_thread(self._store.put, _tenant(request), fresh), 201)

    async def export(self, request: Request) -> Response:
        """Every conversation as a line of JSON; each line can be PUT back."""

        def lines(tenant: str) -> bytes:
            return b"".join(msgspec.json.encode(c) + b"\n" for c in self._store.export(tenant))

        body = await _in_thread(lines, _tenant(request))
        return _json_bytes(
            body, {"content-disposition": 'attachment; filename="conversations.jsonl"'}
        )

    async def read(self, request: Request) -> Response:
        return _json(await _in_thread(self._store.get, _tenant(request), _id(request)))

    async def put(self, request: Request) -> Response:
        whole = await _body(request, Conversation)
        whole = msgspec.structs.replace(whole, id=_id(request))
        return _json(await _in_thread(self._store.put, _tenant(request), whole))

    async def change(self, request: Request) -> Response:
        changes = msgspec.structs.asdict(await _body(request, Changes))
        await _in_thread(lambda: self._store.update(_tenant(request), _id(request), **changes))
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        await _in_thread(self._store.delete, _tenant(request), _id(request))
        return Response(status_code=204)

    async def append(self, request: Request) -> Response:
        """`?replaces=ID`: that message makes room first, with all that follow it."""
        message = await _body(request, Message)
        return _json(await self._save(request, message), 201)

    async def renew(self, request: Request) -> Response:
        """The message of that id as it is now; `last` is the last answer, whatever its id."""
        message = await _body(request, Message)
        if request.path_params["message"] == "last":
            return _json(
                await _in_thread(self._store.replace_last, _tenant(request), _id(request), message)
            )
        message = msgspec.structs.replace(message, id=request.path_params["message"])
        return _json(await self._save(request, message))

    async def _save(self, request: Request, message: Message) -> Message:
        replaces = request.query_params.get("replaces")
        return await _in_thread(
            lambda: self._store.save_message(
                _tenant(request), _id(request), message, replaces=replaces
            )
        )


async def _in_thread(call: Callable[..., Decoded], *arguments: Any) -> Decoded:
    return await asyncio.to_thread(call, *arguments)


async def _body(request: Request, kind: type[Decoded]) -> Decoded:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise RequestTooLarge(f"The body is larger than {MAX_BODY} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not what is expected here: {error}") from None


def _id(request: Request) -> str:
    return request.path_params["id"]


def _tenant(request: Request) -> str:
    return getattr(request.state, "tenant", "local")


def _json(value: object, status: int = 200) -> Response:
    return _json_bytes(msgspec.json.encode(value), {}, status)


def _json_bytes(body: bytes, headers: dict[str, str], status: int = 200) -> Response:
    fixed = {"content-type": "application/json", "cache-control": "no-store"}
    return Response(body, status, headers={**fixed, **headers})
