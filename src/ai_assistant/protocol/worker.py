"""The two seams: where tokens come from, and what the gateway serves."""

from collections.abc import AsyncIterator
from typing import Protocol

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.offers import Offer, WorkerFacts
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.status import ModelStatus, NodeStatus


class TokenSource(Protocol):
    """Anything that answers a request.

    `generate` yields pieces; the last one carries `usage`. It raises an `AssistantError` before
    the first piece or between two. Closing the iterator cancels the request.
    """

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]: ...

    async def embed(self, request: EmbedRequest) -> Embeddings: ...

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """How the model reads a prompt; a source without a tokenizer raises
        `UnsupportedFeature`."""
        ...


class Worker(TokenSource, Protocol):
    """A source for one model, with a life of its own."""

    def status(self) -> ModelStatus: ...

    async def start(self) -> None:
        """Begin to load; returns at once. Progress is in `status`."""
        ...

    async def ready(self) -> None:
        """Return when requests are served; raise `ModelLoadFailed` if that cannot be."""
        ...

    async def stop(self, *, drain: bool = True) -> None:
        """End: with `drain` after the running requests are done, else now."""
        ...


class RemoteSource(Worker, Protocol):
    """A worker on another machine. It is always ready: whether it answers is in its facts."""

    @property
    def offer(self) -> Offer: ...

    def facts(self) -> WorkerFacts: ...

    def refusal(self, request: GenerateRequest) -> str | None:
        """Why it cannot do this, `request.partial` included; None: it can, as far as is known."""
        ...

    def thinking(self, request: GenerateRequest) -> int:
        """Tokens that an answer may take beyond `max_tokens`, and that are paid for."""
        ...


class Service(TokenSource, Protocol):
    """A whole node, as the gateway sees it."""

    def status(self) -> NodeStatus: ...

    def default_model(self) -> str | None: ...
