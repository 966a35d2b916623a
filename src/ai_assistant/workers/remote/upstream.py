"""One provider's connections: bounded places, a gate that is asked, deadlines that are kept."""

import asyncio

from ai_assistant.protocol.egress import Departure, Gate
from ai_assistant.protocol.errors import (
    FirstTokenTimeout,
    MalformedAnswer,
    ProviderBusy,
    ProviderUnreachable,
)
from ai_assistant.workers.remote.address import Address
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.refusals import refusal
from ai_assistant.workers.remote.secret import Secret
from ai_assistant.workers.remote.transport import Call, Reply, StaleConnection, Transport

_ERROR_BYTES = 64 << 10
_ERROR_SECONDS = 5.0
"""How long a refusal's words are waited for."""
_WHOLE_BYTES = 64 << 20


class Upstream:
    """A provider as the workers of its models share it."""

    def __init__(
        self,
        *,
        name: str,
        region: str,
        address: Address,
        transport: Transport,
        secret: Secret,
        gate: Gate,
        deadlines: Deadlines,
        places: int,
    ) -> None:
        """`places`: calls that may run at once."""
        self.name = name
        self.region = region
        self.address = address
        self.deadlines = deadlines
        self._transport = transport
        self._secret = secret
        self._gate = gate
        self._places = asyncio.Semaphore(places)
        self._limit = places

    async def take_place(self) -> None:
        """Wait for a free place, as long as a connection may take; raises `ProviderBusy`."""
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self.deadlines.connect):
                await self._places.acquire()
        except TimeoutError:
            raise ProviderBusy(
                f"All {self._limit} places for {self.name} are taken; try again, or set "
                "max_requests higher.",
                retry_after=1.0,
            ) from None

    def free_place(self) -> None:
        """Give the place back."""
        self._places.release()

    async def open(self, call: Call, *, model: str, request_id: str, tenant: str,
                   until: float) -> Reply:  # fmt: skip
        """An accepted call's answer, its head arrived; raises what the server or the gate says.

        `until`: when the loop's clock shows this, it is too late.
        """
        departure = Departure(
            request_id=request_id,
            tenant=tenant,
            provider=self.name,
            model=model,
            place=self.address.place,
            region=self.region,
            host=self.address.host,
            path=self.address.path + call.path,
            body=call.body,
        )
        try:
            async with asyncio.timeout_at(until):
                reply = await self._send(call, departure)
        except TimeoutError:
            raise FirstTokenTimeout(
                f"{self.name} did not answer in {self.deadlines.first_token:g} seconds."
            ) from None
        if reply.status == 200:
            return reply
        raise await self._refusal(reply)

    async def _send(self, call: Call, departure: Departure) -> Reply:
        for _ in range(self._limit + 1):
            await self._gate.let_out(departure)
            try:
                return await self._transport.open(call, connect_seconds=self.deadlines.connect)
            except StaleConnection:
                continue
        raise ProviderUnreachable(f"{self.name} closes every connection at once.")

    async def _refusal(self, reply: Reply) -> Exception:
        body = b""
        try:
            async with asyncio.timeout(_ERROR_SECONDS):
                while len(body) < _ERROR_BYTES and (piece := await reply.read()):
                    body += piece
        except Exception:  # noqa: BLE001 - the status alone says enough
            body = b""
        finally:
            await reply.abort()
        error = refusal(self.name, reply.status, reply.headers, body[:_ERROR_BYTES])
        error.message = self._secret.hidden_in(error.message)
        error.args = (error.message,)
        return error

    async def read_whole(self, reply: Reply) -> bytes:
        """An answer that came as one object; raises `MalformedAnswer` if it is endless."""
        parts: list[bytes] = []
        size = 0
        while piece := await reply.read():
            parts.append(piece)
            size += len(piece)
            if size > _WHOLE_BYTES:
                raise MalformedAnswer(f"{self.name} sent more than {_WHOLE_BYTES:,} bytes.")
        return b"".join(parts)

    async def close(self) -> None:
        """Give every connection back."""
        await self._transport.close()
