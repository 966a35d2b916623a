"""The node's models and those elsewhere behind one door."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import (
    AssistantError,
    ModelNotFound,
    ProviderError,
    RequestError,
)
from ai_assistant.protocol.purse import Purse
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.routing import NO_WISHES, Served, Wishes
from ai_assistant.protocol.status import ModelInfo, ModelStatus, NodeStatus
from ai_assistant.protocol.worker import RemoteSource
from ai_assistant.scheduler.candidates import Candidate, Candidates, soonest
from ai_assistant.scheduler.outlook import Outlook
from ai_assistant.scheduler.relay import examine, relay
from ai_assistant.scheduler.routing.prefixes import KEPT_HERE
from ai_assistant.scheduler.routing.routes import RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.spending import spending
from ai_assistant.scheduler.weigher import Weigher, Weighing

if TYPE_CHECKING:  # A node whose models are all here loads no detectors.
    from ai_assistant.policy.examine import Examined
    from ai_assistant.policy.gate import Gate


class LimitsTooTight(RequestError):
    """Nobody keeps to the limits of the request, its key or its route."""

    code = "no_candidate_within_limits"


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
    ) -> None:
        """`remote` in the owner's order; with any a `gate` is a must. `online`: whether the
        system knows a way out of the own network. `purse`: the money of whoever asks."""
        if remote and gate is None:
            raise ValueError("models elsewhere need a gate")
        self._scheduler = scheduler
        self._gate = gate
        self._purse = purse
        self._energy = settings.energy
        self._candidates = Candidates(scheduler, remote, settings)
        kept = {model.id: KEPT_HERE for model in scheduler.models()}
        self._weigher = Weigher(self._candidates, online=online, kept=kept)

    def unknown_names(self) -> dict[str, list[str]]:
        """Of each route the models that nobody here or elsewhere has."""
        return self._candidates.unknown()

    @property
    def outlook(self) -> Outlook:
        """What jobs ask."""
        return Outlook(self._candidates)

    # Requests.

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The answer's pieces, from whoever can give them."""
        nothing_asked = request.wishes is None and not self._energy
        if nothing_asked and self._candidates.plain(request.model) and not self._read(request):
            return self._scheduler.generate(request)
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
            raise _nobody(weighing)
        self._load_meanwhile(weighing)
        pieces = relay(
            request,
            turns,
            gate,
            examined=examined,
            decision=decision,
            learn=lambda ended: self._weigher.learn(weighing, ended),
            purse=self._purse,
        )
        async with contextlib.aclosing(pieces):
            async for chunk in pieces:
                yield chunk

    async def _weigh(
        self, request: GenerateRequest, wishes: Wishes
    ) -> "tuple[Weighing, Gate | None, Examined | None]":
        """The decision; with the gate and what it read, where the text could leave."""
        found = self._candidates.of(request.model)
        if not found:
            known = ", ".join(one.model.id for one in self.status().models)
            raise ModelNotFound(
                f"The model {request.model!r} is not known here; there is {known}.", param="model"
            )
        away = any(one.remote for one in found)
        gate = self._gate if away or self._read(request) else None
        examined = await examine(request, gate) if gate else None
        weighing = self._weigher.weigh(request, found, wishes, gate=gate, examined=examined)
        return weighing, gate, examined

    def _load_meanwhile(self, weighing: Weighing) -> None:
        place = weighing.choice.meanwhile
        if place is not None and weighing.found[place].remote is None:
            self._scheduler.warm(weighing.found[place].name)

    # Vectors and tokens.

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors; another model's would be others, so only the first in order is asked."""
        if self._candidates.plain(request.model) or self._scheduler.serves(request.model):
            await self._look(request)
            return await self._scheduler.embed(request)
        candidate = self._first(request.model)
        if candidate.remote is None or self._gate is None:
            return await self._scheduler.embed(structs.replace(request, model=candidate.name))
        from ai_assistant.policy.passage import passage

        async with (
            passage(self._gate, request, candidate.destination) as outbound,
            spending(self._purse, request, candidate.remote) as meter,
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
        if self._candidates.plain(request.model) or self._scheduler.serves(request.model):
            return await self._scheduler.tokenize(request)
        here = [one for one in self._candidates.of(request.model) if one.remote is None]
        if here:
            return await self._scheduler.tokenize(structs.replace(request, model=here[0].name))
        candidate = self._first(request.model)
        if self._gate is None:
            return await candidate.source.tokenize(request)
        from ai_assistant.policy.passage import passage

        async with passage(self._gate, request, candidate.destination) as outbound:
            return await candidate.source.tokenize(outbound.request)

    def _first(self, name: str) -> Candidate:
        """The first of the owner's order who works; raises `ProviderError`."""
        found = self._candidates.of(name)
        facts = self._candidates.facts(found, held={}, online=True)
        for candidate, one in zip(found, facts, strict=True):
            if not one.rest:
                return candidate
        raise _resting(name, "; ".join(f"{one.name}: {one.rest}" for one in facts), found)

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


def _nobody(weighing: Weighing) -> AssistantError:
    told, name = weighing.why_nobody(), weighing.request.model
    if any(one.kind == "rest" for one in weighing.choice.refused.values()):
        return _resting(name, told, weighing.found)
    return LimitsTooTight(
        f"Nobody may answer {name} within the limits ({told}). Loosen a limit, or see "
        "`ai-assistant route`."
    )


def _resting(name: str, told: str, found: Sequence[Candidate]) -> ProviderError:
    return ProviderError(
        f"Nobody can be asked for {name} now ({told}). `ai-assistant providers test` says more.",
        retry_after=soonest(found),
    )
