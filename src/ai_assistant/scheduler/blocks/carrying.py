"""The KV blocks of an answer that leaves go to whoever is about to read it, where that is quicker
than computing them there.

This node asked both, has both keys, and its rules let the text go to both: so the blocks go through
it. They are as good as their text, so they go only where that text may go unchanged, and are
recorded like it. Whatever goes wrong, the other node computes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from msgspec import structs

from ai_assistant.policy.errors import KeptHere
from ai_assistant.protocol.blocks import Head, Offered, Part
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt
from ai_assistant.scheduler.asking import examine
from ai_assistant.scheduler.blocks.ahead import Ahead
from ai_assistant.scheduler.blocks.ports import Blocks, HasBlocks
from ai_assistant.scheduler.blocks.worth import Prospect, patience, refusal
from ai_assistant.scheduler.turn import Turn

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate

log = logging.getLogger(__name__)

FIRST_SECONDS = 3.0
"""How long it may take until it is known what there is, and whether it is wanted."""


class Carrying:
    """The blocks of one answer; they are given out once."""

    def __init__(self, leaving: Turn, ticket: str, gate: "Gate | None") -> None:
        """`leaving` gave the ticket; empty: nothing is carried."""
        self._leaving = leaving
        self._ticket = ticket
        self._gate = gate

    async def bring(self, request: GenerateRequest, heir: Turn) -> None:
        """To the heir, what can be; `request` as it will be asked. Raises nothing: without them the
        heir computes."""
        giver, taker = self._leaving.candidate.source, heir.candidate.source
        ticket, self._ticket = self._ticket, ""
        if not (ticket and isinstance(giver, HasBlocks) and isinstance(taker, HasBlocks)):
            return
        identity = f"{request.request_id}-kv"
        begun = time.monotonic()
        try:
            async with (
                self._asking(identity),
                contextlib.aclosing(Ahead(giver.blocks("", identity, "").give(ticket))) as parts,
            ):
                whole = await examine(request, self._gate) if self._gate else None
                async with asyncio.timeout(FIRST_SECONDS):
                    first = await parts.next()
                offered = first.head.offered if first else None
                if offered is None:
                    return  # it has not computed a whole block
                async with self._permitted(request, whole, offered, identity, heir):
                    blocks = taker.blocks(heir.candidate.name, identity, request.tenant)
                    await _Transfer(offered, blocks, heir.candidate.name, begun).run(parts)
        except TimeoutError:
            log.warning(
                "KV blocks: %s did not say in time what there is, or %s what it wants",
                self._leaving.candidate.name,
                heir.candidate.name,
            )
        except AssistantError as error:
            log.warning("KV blocks do not go to %s: %s", heir.candidate.name, error.message)

    @contextlib.asynccontextmanager
    async def _asking(self, identity: str) -> AsyncGenerator[None]:
        """The gate lets us ask whoever leaves: nothing but the ticket goes there."""
        where = self._leaving.candidate.destination
        if self._gate is None or where.reach == "process":
            yield
            return
        from ai_assistant.policy.passage import without_text

        async with without_text(self._gate, where, identity):
            yield

    @contextlib.asynccontextmanager
    async def _permitted(
        self,
        request: GenerateRequest,
        whole: "Examined | None",
        offered: Offered,
        identity: str,
        heir: Turn,
    ) -> AsyncGenerator[None]:
        """The gate has read the very text of the blocks, with all that sticks to the request, and
        lets it go there as it is; raises `KeptHere`."""
        where = heir.candidate.destination
        if self._gate is None or whole is None:
            yield
            return
        from ai_assistant.policy.labels import Facts
        from ai_assistant.policy.passage import examined_by, permitted

        facts = Facts(carried=whole.labels, regions=whole.regions)
        prompt = TextPrompt(offered.text.decode("utf-8", "replace"))
        told = structs.replace(request, request_id=identity, prompt=prompt, partial=None)
        examined = await examined_by(self._gate, told, facts)
        async with permitted(self._gate, told, examined, where, identity) as outbound:
            if outbound.decision.action != "allow" or outbound.hidden:
                raise KeptHere("their text may not go there as it is")
            yield


class _Transfer:
    """From one node's engine to the other's, a block on its way while the next one is packed."""

    def __init__(self, offered: Offered, to: Blocks, name: str, begun: float) -> None:
        self._offered = offered
        self._to = to
        self._name = name
        self._begun = begun
        self._arrived = 0
        self._bytes = 0

    async def run(self, parts: Ahead) -> None:
        """Until all are there, or it falls behind computing."""
        async with asyncio.timeout(FIRST_SECONDS):
            weighed = await self._to.weigh(self._offered)
        prospect = Prospect(
            tokens=len(self._offered.cuts) - weighed.known * self._offered.block_tokens,
            block_tokens=self._offered.block_tokens,
            block_bytes=self._offered.block_bytes,
            prefill=weighed.prefill,
            link=self._to.link,
            room=weighed.room,
        )
        if why := refusal(prospect):
            self._tell(prospect, why)
            return
        try:
            while True:
                until = self._begun + patience(prospect, self._arrived)
                async with asyncio.timeout(until - time.monotonic()):
                    part = await parts.next()
                    if part is None or part.head.block is None:
                        break
                    if part.head.block.index >= weighed.known:
                        await self._send(part)
        except TimeoutError:
            self._tell(prospect, "it fell behind computing")
            return
        self._tell(prospect, "")

    async def _send(self, part: Part) -> None:
        assert part.head.block is not None
        so_far = self._offered.first(part.head.block.index + 1)
        await self._to.take(Part(Head(offered=so_far, block=part.head.block), part.payload))
        self._arrived += 1
        self._bytes += len(part.payload)

    def _tell(self, prospect: Prospect, why: str) -> None:
        """The figures behind the decision, for whoever wonders."""
        log.warning(
            "KV blocks: %d of %d (%.1f MB) went to %s in %.2f s%s; to compute them, %d tokens: "
            "%.2f s at %.0f tokens/s; the link: %.1f MB/s",
            self._arrived,
            -(-prospect.tokens // prospect.block_tokens),
            self._bytes / 1e6,
            self._name,
            time.monotonic() - self._begun,
            f" ({why})" if why else "",
            prospect.tokens,
            prospect.computing,
            prospect.prefill,
            self._to.link / 1e6,
        )
