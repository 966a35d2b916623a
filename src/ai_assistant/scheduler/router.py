"""The node's models and those elsewhere behind one door."""

from collections.abc import AsyncIterator, Sequence

from msgspec import structs

from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import Destination, Facts, destination_of
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import AssistantError, ModelNotFound, ProviderError
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.status import NodeStatus
from ai_assistant.protocol.worker import RemoteSource
from ai_assistant.scheduler.candidates import Seen, order, soonest
from ai_assistant.scheduler.relay import Candidate, relay
from ai_assistant.scheduler.scheduler import Scheduler


class Router:
    """`protocol.worker.Service`: a name is that of a model here, of some elsewhere, or of both.

    A model here is asked first; the others stand by for it, as far as the owner's rules let the
    request go there.
    """

    def __init__(self, scheduler: Scheduler, remote: Sequence[RemoteSource], gate: Gate) -> None:
        """`remote` in the owner's order."""
        self._scheduler = scheduler
        self._gate = gate
        self._remote: dict[str, list[RemoteSource]] = {}
        for source in remote:
            for name in source.offer.names:
                self._remote.setdefault(name, []).append(source)

    # Requests.

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces, from whoever can give them."""
        if request.model not in self._remote:
            return self._scheduler.generate(request)
        return relay(request, self._candidates(request.model), self._gate)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors; another model's would be others, so only the first in order is asked."""
        if request.model not in self._remote or self._scheduler.serves(request.model):
            return await self._scheduler.embed(request)
        candidate, *_ = self._candidates(request.model)
        examined = self._gate.examine(request, Facts(model=request.model))
        destination = candidate.destination
        outbound = await self._gate.open(
            request, examined, destination, request_id=request.request_id
        )
        try:
            return await candidate.source.embed(outbound.request)
        finally:
            self._gate.close(request.request_id, destination)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """Only models here show how they read."""
        try:
            return await self._scheduler.tokenize(request)
        except ModelNotFound:
            if request.model not in self._remote:
                raise
            return await self._remote[request.model][0].tokenize(request)

    def _candidates(self, name: str) -> list[Candidate]:
        """Those that may be asked, in order; raises `ProviderError` where there is nobody."""
        remote = self._remote[name]
        seen = [Seen(place, source.facts()) for place, source in enumerate(remote)]
        found = [
            Candidate(remote[place], destination_of(remote[place].offer), remote[place])
            for place in order(seen)
        ]
        if self._scheduler.serves(name):
            here = Destination(name=name, reach="process")
            found.insert(0, Candidate(self._scheduler, here))
        if not found:
            raise self._nobody(name, seen)
        return found

    def _nobody(self, name: str, seen: list[Seen]) -> AssistantError:
        told = "; ".join(
            f"{source.offer.provider}: {one.facts.last_error or one.facts.state}"
            for source, one in zip(self._remote[name], seen, strict=True)
        )
        return ProviderError(
            f"Nobody can be asked for {name} now ({told}). "
            "`ai-assistant providers test` says more.",
            retry_after=soonest(seen),
        )

    # The node as a whole.

    def status(self) -> NodeStatus:
        """Every model, here and elsewhere; a name that is both is told once."""
        status = self._scheduler.status()
        known = {one.model.id for one in status.models}
        elsewhere = {
            name: sources[0].status() for name, sources in self._remote.items() if name not in known
        }
        named = (
            structs.replace(one, model=structs.replace(one.model, id=name))
            for name, one in elsewhere.items()
        )
        return structs.replace(status, models=(*status.models, *named))

    def default_model(self) -> str | None:
        """The model that is used when none is named."""
        return self._scheduler.default_model()
