"""KV blocks from another ai-assistant node, or to it."""

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec
from msgspec import structs

from ai_assistant.protocol.blocks import (
    BadPart,
    Head,
    Offered,
    Part,
    PartReader,
    Weighed,
    pack_part,
)
from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.workers.remote.kinds import Target
from ai_assistant.workers.remote.transport import Call
from ai_assistant.workers.remote.upstream import Upstream, Visit

PATH = "/admin/kv-blocks"
_BINARY = "application/octet-stream"
_SECONDS = 30.0
"""For one call; whoever compares with computing is less patient."""
_SMOOTH = 0.5
_QUICKEST = 1e9
"""Tokens a second that no node computes."""
_TELLING = 0.05
"""Seconds: a call that was given up sooner says nothing of the link."""


class Link:
    """How quickly a node takes what it is sent: measured with every block."""

    def __init__(self) -> None:
        self.speed = 0.0
        """Bytes a second; 0: never measured."""

    def note(self, count: int, seconds: float) -> None:
        """So many bytes took so long."""
        speed = count / max(seconds, 1e-6)
        self.speed += _SMOOTH * (speed - self.speed) if self.speed else speed

    def note_slow(self, count: int, seconds: float) -> None:
        """So many were not there after so long."""
        if seconds < _TELLING:
            return
        most = count / max(seconds, 1e-6)
        self.speed = min(self.speed or most, most)


class NodeBlocks:
    """One node's, for one answer."""

    def __init__(self, target: Target, upstream: Upstream, link: Link, request_id: str) -> None:
        """`request_id`: that the gate knows."""
        self._target = target
        self._upstream = upstream
        self._link = link
        self._request_id = request_id

    @property
    def link(self) -> float:
        """Bytes a second to there; 0: never measured."""
        return self._link.speed

    async def give(self, ticket: str) -> AsyncGenerator[Part, None]:
        """Blocks of an answer that leaves there, as they come."""
        body = msgspec.json.encode({"ticket": ticket})
        visit = await self._open(Call(path=f"{PATH}/leaving", from_root=True, body=body))
        reader = PartReader()
        async with visit.reading():
            try:
                while data := await visit.read():
                    for part in reader.feed(data):
                        yield part
                if not reader.between:
                    raise BadPart("it is cut off")
            except BadPart as bad:
                raise MalformedAnswer(
                    f"{self._target.provider} sent no KV blocks: {bad}."
                ) from None

    async def weigh(self, offered: Offered) -> Weighed:
        """What the node's engine says to an offer; raises what it refuses."""
        body = await self._tell(Part(Head(offered=offered)))
        try:
            weighed = msgspec.json.decode(body, type=Weighed)
        except msgspec.DecodeError:
            weighed = None
        if weighed is None or weighed.known < 0 or not 0 <= weighed.prefill < _QUICKEST:
            raise MalformedAnswer(f"{self._target.provider} does not tell what it has.")
        return weighed

    async def take(self, part: Part) -> None:
        """Send it a block; raises why it is not kept."""
        begun = time.monotonic()
        try:
            await self._tell(part)
        except asyncio.CancelledError:
            self._link.note_slow(len(part.payload), time.monotonic() - begun)
            raise
        self._link.note(len(part.payload), time.monotonic() - begun)

    async def _tell(self, part: Part) -> bytes:
        head = structs.replace(part.head, model=self._target.model)
        body = pack_part(structs.replace(part, head=head))
        visit = await self._open(Call(path=PATH, from_root=True, body=body, media=_BINARY))
        async with visit.reading():
            return await visit.read_whole()

    async def _open(self, call: Call) -> Visit:
        until = asyncio.get_running_loop().time() + _SECONDS
        return await self._upstream.open(
            call, model=self._target.model, request_id=self._request_id, tenant="", until=until
        )
