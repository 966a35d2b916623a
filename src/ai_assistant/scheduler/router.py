"""The node's models and those elsewhere behind one door."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import ModelNotAllowed, ModelNotFound, UnsupportedFeature
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.routing import NO_WISHES, Served, Wishes, covers, together
from ai_assistant.protocol.status import ModelInfo, ModelStatus, NodeStatus
from ai_assistant.protocol.worker import RemoteSource
from ai_assistant.scheduler.asking import examine
from ai_assistant.scheduler.candidates import Candidate, Candidates
from ai_assistant.scheduler.choosing import NOTHING, ask_for_vectors, first, nobody
from ai_assistant.scheduler.outlook import Outlook
from ai_assistant.scheduler.relay import relay
from ai_assistant.scheduler.routing.facts import Ask
from ai_assistant.scheduler.routing.prefixes import KEPT_HERE
from ai_assistant.scheduler.routing.routes import RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.spending import spending
from ai_assistant.scheduler.weigher import Weigher, Weighing

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate


class Router:
    """`protocol.worker.Service`: a name is that of a model, of several, or of a set."""

    def __init__(
        self,
        scheduler: Scheduler,
        remote: Sequence[RemoteSource] = (),
        gate: "Gate | None" = None,
        settings: RoutingSettings = RoutingSettings(),  # noqa: B008 - a frozen value
        *,
        online: Callable[[], bool] = lambda: True,
        purse: Purse | None = None,
        with_blocks: bool = True,
    ) -> None:
        """`remote` in the owner's order; with any a `gate` is a must. `online`: whether the
        system knows a way out of the own network. `purse`: the money of whoever asks.
        `with_blocks`: KV blocks go along with answers that change nodes."""
        if remote and gate is None:
            raise ValueError("models elsewhere need a gate")
        self._scheduler = scheduler
        self._gate = gate
        self._purse = purse
        self._with_blocks = with_blocks
        self._energy = settings.energy
        self._candidates = Candidates(scheduler, remote, settings)
        kept = {model.id: KEPT_HERE for model in scheduler.models()}
        self._weigher = Weigher(self._candidates, online=online, kept=kept)

    def unknown_names(self) -> dict[str, list[str]]:
        """Of each route the models that nobody here or elsewhere has."""
        return self._candidates.unknown()

    def nodes(self, name: str) -> list[str]:
        """The other nodes of ours that answer to a name, as the settings call them."""
        offers = [one.remote.offer for one in self._candidates.of(name) if one.remote]
        return [offer.provider for offer in offers if offer.kind == "ai-assistant"]

    @property
    def outlook(self) -> Outlook:
        """What jobs ask."""
        return Outlook(self._candidates, self._gate)

    # Requests.

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces, from whoever can give them."""
        nothing_asked = _asks_nothing(request) and not self._energy
        if nothing_asked and self._candidates.plain(request.model) and not self._read(request):
            return self._scheduler.generate(_unwished(request))
        return self._routed(request)

    def _read(self, request: GenerateRequest) -> bool:
        """Whether the rules want to see also what stays here."""
        return self._gate is not None and self._gate.must_read(request)

    async def _routed(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        wishes = request.wishes or NO_WISHES
        request = structs.replace(request, wishes=None)
        weighing, gate, examined = await self._weigh(request, wishes)
        decision = weighing.explained() if wishes.explain else None
        if wishes.explain == "only":
            yield TokenChunk(served=Served(worker="", decision=decision))
            return
        turns = weighing.turns()
        if not turns:
            raise nobody(request.model, weighing.found, weighing.facts, weighing.choice)
        self._load_meanwhile(weighing)
        pieces = relay(
            request,
            turns,
            gate,
            examined=examined,
            decision=decision,
            learn=lambda ended: self._weigher.learn(weighing, ended),
            purse=self._purse,
            with_blocks=self._with_blocks,
        )
        async with contextlib.aclosing(pieces):
            async for chunk in pieces:
                yield chunk

    async def _weigh(
        self, request: GenerateRequest, wishes: Wishes
    ) -> "tuple[Weighing, Gate | None, Examined | None]":
        """The decision; with the gate and what it read, where the text could leave."""
        found = self._named(request.model, wishes)
        away = any(one.remote for one in found)
        gate = self._gate if away or self._read(request) else None
        examined = await examine(request, gate) if gate else None
        weighing = self._weigher.weigh(request, found, wishes, gate=gate, examined=examined)
        return weighing, gate, examined

    def _named(self, name: str, wishes: Wishes) -> list[Candidate]:
        """Who answers to a name, of those that the key may use: the others do not exist for it."""
        found = self._candidates.of(name)
        if not found:
            known = ", ".join(one.model.id for one in self.status().models)
            raise ModelNotFound(
                f"The model {name!r} is not known here; there is {known}.", param="model"
            )
        own = [one for one in found if covers(wishes.models, *one.names)]
        if not own:
            raise ModelNotAllowed(
                f"This API key may use none of the models that answer to {name!r}; GET /v1/models "
                "lists those that it may use.",
                param="model",
            )
        return own

    def _load_meanwhile(self, weighing: Weighing) -> None:
        place = weighing.choice.meanwhile
        if place is not None and weighing.found[place].remote is None:
            self._scheduler.warm(weighing.found[place].name)

    # Vectors and tokens.

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors; another model's would be others, so only the first in order is asked."""
        wishes = request.wishes or NO_WISHES
        if wishes.explain:
            raise UnsupportedFeature("explain: only for answers; leave it out.", param="explain")
        own, request = _asks_nothing(request), structs.replace(request, wishes=None)
        if own and self._is_here(request.model):
            await self._look(request)
            return await self._scheduler.embed(request)
        found = self._named(request.model, wishes)
        limits = self._limited(request.model, wishes)
        candidate = self._first(request.model, found, limits, ask_for_vectors(request))
        if candidate.remote is None or self._gate is None:
            request = structs.replace(request, model=candidate.name)
            await self._look(request)
            return await self._scheduler.embed(request)
        from ai_assistant.policy.passage import passage

        async with (
            passage(self._gate, request, candidate.destination) as outbound,
            spending(self._purse, request.tenant, outbound.request, candidate.remote) as meter,
        ):
            found = await candidate.source.embed(outbound.request)
            meter.note_vectors(found)
            return found

    async def _look(self, request: EmbedRequest) -> None:
        """What stays here is read too where the rules want that; raises `KeptHere`."""
        if self._gate is None or not self._gate.must_read(request):
            return
        from ai_assistant.policy.passage import passage

        async with passage(self._gate, request, self._candidates.here(request.model)):
            return

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """Only models here show how they read."""
        wishes, request = request.wishes or NO_WISHES, structs.replace(request, wishes=None)
        if self._is_here(request.model):
            return await self._scheduler.tokenize(request)
        found = self._named(request.model, wishes)
        here = [one for one in found if one.remote is None]
        if here:
            return await self._scheduler.tokenize(structs.replace(request, model=here[0].name))
        scope = Wishes(regions=self._limited(request.model, wishes).regions)
        candidate = self._first(request.model, found, scope, NOTHING)
        if self._gate is None:
            return await candidate.source.tokenize(request)
        from ai_assistant.policy.passage import passage

        async with passage(self._gate, request, candidate.destination) as outbound:
            return await candidate.source.tokenize(outbound.request)

    def _is_here(self, name: str) -> bool:
        """A model here has the name: it goes before others that have it too."""
        return self._candidates.plain(name) or self._scheduler.serves(name)

    def _limited(self, name: str, wishes: Wishes) -> Wishes:
        """With the limits of the owner's name."""
        return together(self._candidates.route(name).limits, wishes)

    def _first(self, name: str, found: list[Candidate], wishes: Wishes, ask: Ask) -> Candidate:
        facts = self._candidates.facts(found, held={}, online=True)
        return first(name, found, facts, wishes, ask)

    # The node as a whole.

    def status(self) -> NodeStatus:
        """Every model, here and elsewhere, and the owner's names; each name is told once."""
        status = self._scheduler.status()
        known = {one.model.id for one in status.models}
        others: list[ModelStatus] = []
        for name, found in self._candidates.names().items():
            if name not in known and found[0].remote:
                one = found[0].remote.status()
                others.append(structs.replace(one, model=structs.replace(one.model, id=name)))
        known |= {one.model.id for one in others}
        others += [self._set(name) for name in self._candidates.routes() if name not in known]
        return structs.replace(status, models=(*status.models, *others)) if others else status

    def _set(self, name: str) -> ModelStatus:
        found = self._candidates.of(name)
        lengths = [one.context for one in self._candidates.facts(found, held={}, online=True)]
        info = ModelInfo(
            id=name,
            name=f"one of {', '.join(one.name for one in found)}"[:200],
            path="",
            size_bytes=0,
            architecture="route",
            quantisation="",
            parameters=0,
            context_train=max((length or 0 for length in lengths), default=0),
        )
        return ModelStatus(model=info, state="ready")

    def default_model(self) -> str | None:
        """The model that is used when none is named."""
        return self._scheduler.default_model()


def _asks_nothing(request: GenerateRequest | EmbedRequest) -> bool:
    """Nothing but what its key brings along, which changes nothing for a model here."""
    wishes = request.wishes
    return wishes is None or structs.replace(wishes, models=(), budget=None) == NO_WISHES


def _unwished(request: GenerateRequest) -> GenerateRequest:
    return structs.replace(request, wishes=None) if request.wishes else request
