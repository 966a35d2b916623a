"""The node as one caller may use it: its models only, and no more than its limits."""

from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from msgspec import structs

from ai_assistant.gateway.access.accounts import Accounts, Lease
from ai_assistant.gateway.access.sizes import expected_tokens
from ai_assistant.gateway.keys import Caller
from ai_assistant.gateway.wanted import let_go
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import ModelNotAllowed
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.routing import NO_WISHES, Wishes, together
from ai_assistant.protocol.status import NodeStatus
from ai_assistant.protocol.worker import Service
from ai_assistant.scheduler.scheduler import DEFAULT_ALIAS

Request = TypeVar("Request", GenerateRequest, EmbedRequest, TokenizeRequest)


class Visit:
    """`protocol.worker.Service` for one exchange. Whoever makes it closes it.

    The first request for an answer or for vectors is let in, once for the exchange; looking and
    counting tokens is free.
    """

    def __init__(self, service: Service, caller: Caller, accounts: Accounts) -> None:
        self._service = service
        self._caller = caller
        self._accounts = accounts
        self._lease: Lease | None = None
        self._under_way = 0

    def close(self) -> None:
        """The exchange is over."""
        if self._lease:
            self._lease.close()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        """The answer's pieces; raises `ModelNotAllowed` and `RateLimited` before the first."""
        request = self._within(request)
        expected = expected_tokens(request)
        lease = self._let_in(expected)
        prompt, completion, cached, ended = expected, 0, 0, False
        pieces = self._service.generate(request)
        try:
            async for chunk in pieces:
                completion += 1
                if chunk.usage is not None:
                    usage = chunk.usage
                    prompt, completion = usage.prompt_tokens, usage.completion_tokens
                    cached = usage.cached_tokens
                    if not ended:
                        # Before the client hears the end: its next request finds the place free.
                        self._ended(lease)
                        ended = True
                yield chunk
        finally:
            # Before closing, which may fail or be cut off: what was computed counts anyway.
            lease.count(prompt, completion, cached=cached, expected=expected)
            if not ended:
                self._ended(lease)
            await let_go(pieces)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors; raises as `generate` does."""
        request = self._within(request)
        expected = expected_tokens(request)
        lease = self._let_in(expected)
        taken = expected
        try:
            found = await self._service.embed(request)
            taken = found.prompt_tokens
            return found
        finally:
            self._ended(lease)
            lease.count(taken, 0, cached=0, expected=expected)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """How a model that the caller may use reads a prompt."""
        return await self._service.tokenize(self._within(request))

    def status(self) -> NodeStatus:
        """The node with the models that the caller may use."""
        status = self._service.status()
        if not self._caller.models:
            return status
        seen = tuple(one for one in status.models if self._caller.may_use(one.model.id))
        return structs.replace(status, models=seen)

    def default_model(self) -> str | None:
        """The node's, or else the first that the caller may use."""
        usual = self._service.default_model()
        if usual is None or self._caller.may_use(usual):
            return usual
        return next((one.model.id for one in self.status().models), None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def _within(self, request: Request) -> Request:
        """The request by a name that the caller may use, with what holds for all that answer to it.

        Raises `ModelNotAllowed`.
        """
        name, models = self._allowed(request.model), self._caller.models
        left = self._accounts.left(self._caller)
        if name != request.model:
            request = structs.replace(request, model=name)
        if not models and left is None:
            return request
        own = Wishes(models=models, budget=left)
        return structs.replace(request, wishes=together(own, request.wishes or NO_WISHES))

    def _allowed(self, model: str) -> str:
        name = model
        if self._caller.models and model in ("", DEFAULT_ALIAS):
            name = self.default_model() or model
        if not self._caller.may_use(name):
            raise ModelNotAllowed(
                f"This API key may not use the model {model!r}; GET /v1/models lists those that "
                "it may use.",
                param="model",
            )
        return name

    def _let_in(self, expected: int) -> Lease:
        """Further requests of the same exchange come in with the first."""
        if self._lease is None:
            self._lease = self._accounts.admit(self._caller, expected)
        else:
            self._lease.expect(expected)
        self._under_way += 1
        return self._lease

    def _ended(self, lease: Lease) -> None:
        """With the last of its requests the exchange is no longer under way."""
        self._under_way -= 1
        if not self._under_way:
            lease.close()
