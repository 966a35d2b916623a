"""How many requests are open at once, and that one tenant alone does not fill the house."""

import time
from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from ai_assistant.gateway.exchange import caller_of, header
from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import Overloaded
from ai_assistant.protocol.requests import Priority

_PER_FREE_PLACE = 3
_RESERVED = 8
_COUNTED = ("/v1/", "/api/", "/tokenize", "/detokenize", "/apply-template", "/rerank")
"""Addresses at which a POST takes a place."""
_FIRST_GUESS = 5.0
_LONGEST_WAIT = 60.0
_NEWEST = 0.1
"""Weight of the newest answer in the mean."""


class Places:
    """Places for open requests.

    A tenant gets one more while it holds fewer than three times as many as are free: alone it
    comes to three quarters of all, two come to three sevenths each, and a newcomer finds a free
    one at once, without a list of who is active. (Dynamic thresholds: Choudhury and Hahne 1998.)
    The last eighth is for those who say that a person waits.
    """

    def __init__(self, total: int, *, shared: bool) -> None:
        """Not `shared`: there is one tenant only, who may have all."""
        self._total = total
        self._reserve = total // _RESERVED
        self.shared = shared
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._mean: float | None = None

    def enter(self, tenant: str, *, urgent: bool = False) -> None:
        """Take a place; raises `Overloaded`."""
        free = self._total - self._taken - (0 if urgent else self._reserve)
        if free < 1:
            raise self._refusal(f"{self._taken} requests are open here already; try again later.")
        held = self._held[tenant]
        if self.shared and held >= _PER_FREE_PLACE * free:
            raise self._refusal(f"{held} requests of this key are open already; try again later.")
        self._held[tenant] += 1
        self._taken += 1

    def leave(self, tenant: str) -> None:
        """Give the place back."""
        self._taken -= 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]

    def note_answer(self, seconds: float) -> None:
        """A request took so long, from the first word to the last."""
        mean = seconds if self._mean is None else self._mean
        self._mean = mean + _NEWEST * (seconds - mean)

    def wait(self) -> float:
        """Seconds after which trying again makes sense: by then a full house has changed once."""
        return _FIRST_GUESS if self._mean is None else min(max(self._mean, 1.0), _LONGEST_WAIT)

    def _refusal(self, message: str) -> Overloaded:
        return Overloaded(message, retry_after=self.wait())


class DoorGuard:
    """Lets in as many requests as there are places, before their bodies are read."""

    def __init__(
        self, app: ASGIApp, settings: GatewaySettings, *, tenants: Callable[[], int]
    ) -> None:
        """`tenants`: how many there are now."""
        self._app = app
        self._tenants = tenants
        self._places = Places(settings.max_requests, shared=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or not scope["path"].startswith(_COUNTED):
            await self._app(scope, receive, send)
            return
        caller = caller_of(scope)
        tenant = caller.tenant
        self._places.shared = self._tenants() > 1
        self._places.enter(tenant, urgent=_is_urgent(scope, caller))
        began = time.perf_counter()
        try:
            await self._app(scope, receive, send)
            self._places.note_answer(time.perf_counter() - began)
        except Overloaded as error:
            wait = max(self._places.wait(), error.retry_after or 0)
            raise Overloaded(error.message, retry_after=wait) from error
        finally:
            self._places.leave(tenant)


def _is_urgent(scope: Scope, caller: Caller) -> bool:
    """By the header alone: the body is still outside."""
    said = header(scope, b"x-priority") == "interactive"
    return said and caller.ceiling is Priority.INTERACTIVE
