"""One provider's connections: bounded places, a gate that is asked, deadlines that are kept."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from ai_assistant.protocol.egress import Departure, Gate, Outcome
from ai_assistant.protocol.errors import (
    AssistantError,
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

    async def open(
        self, call: Call, *, model: str, request_id: str, tenant: str, until: float
    ) -> "Visit":
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
            path=self.address.path_of(call.path, from_root=call.from_root),
            body=call.body,
        )
        try:
            async with asyncio.timeout_at(until):
                visit = await self._send(call, departure)
        except TimeoutError:
            raise FirstTokenTimeout(
                f"{self.name} did not answer in {self.deadlines.first_token:g} seconds."
            ) from None
        if visit.status == 200:
            return visit
        error = await self._refusal(visit)
        await visit.end(error)
        raise error

    async def _send(self, call: Call, departure: Departure) -> "Visit":
        for _ in range(self._limit + 1):
            await self._gate.let_out(departure)
            try:
                reply = await self._transport.open(call, connect_seconds=self.deadlines.connect)
            except StaleConnection:
                self._gate.came_back(departure, "failed", error="stale_connection")
            except BaseException as error:
                self._gate.came_back(departure, outcome_of(error), error=_code(error))
                raise
            else:
                return Visit(reply, departure, self._gate)
        raise ProviderUnreachable(f"{self.name} closes every connection at once.")

    async def _refusal(self, visit: "Visit") -> AssistantError:
        body = b""
        try:
            async with asyncio.timeout(_ERROR_SECONDS):
                while len(body) < _ERROR_BYTES and (piece := await visit.read()):
                    body += piece
        except Exception:  # noqa: BLE001 - the status alone says enough
            body = b""
        error = refusal(self.name, visit.status, visit.headers, body[:_ERROR_BYTES])
        return self.without_key(error)

    def without_key(self, error: AssistantError) -> AssistantError:
        """The error, the key masked in its words: servers repeat keys."""
        error.message = self._secret.hidden_in(error.message)
        error.args = (error.message,)
        return error

    async def close(self) -> None:
        """Give every connection back."""
        await self._transport.close()


class Visit:
    """One answer, counted; whoever opened it says with `end` how it went."""

    def __init__(self, reply: Reply, departure: Departure, gate: Gate) -> None:
        self._reply = reply
        self._departure = departure
        self._gate = gate
        self._received = 0
        self._ended = False
        self.status = reply.status
        self.headers = reply.headers

    async def read(self) -> bytes:
        """The next bytes; empty at the proper end."""
        data = await self._reply.read()
        self._received += len(data)
        return data

    async def read_whole(self) -> bytes:
        """All bytes; raises `MalformedAnswer` if there is no end to them."""
        parts: list[bytes] = []
        while piece := await self.read():
            parts.append(piece)
            if self._received > _WHOLE_BYTES:
                raise MalformedAnswer(f"The server sent more than {_WHOLE_BYTES:,} bytes.")
        return b"".join(parts)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncGenerator[None, None]:
        """While it is read: it ends with the context, and as that does."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            await self.end(error)

    async def end(self, error: BaseException | None = None, *, keep: bool = True) -> None:
        """It is over: the connection is given back, or closed at once (always after an error)."""
        if self._ended:
            return
        self._ended = True
        try:
            await (self._reply.release() if keep and error is None else self._reply.abort())
        finally:
            self._gate.came_back(
                self._departure,
                outcome_of(error),
                status=self.status,
                received=self._received,
                error=_code(error),
            )


def outcome_of(error: BaseException | None) -> Outcome:
    """How a departure ended. Not every end with an exception is a failure."""
    if error is None:
        return "completed"
    return "failed" if isinstance(error, Exception) else "cancelled"


def _code(error: BaseException | None) -> str:
    if isinstance(error, AssistantError):
        return error.code
    return type(error).__name__ if isinstance(error, Exception) else ""
