"""Who answers to a name, and what is known of each of them now."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ai_assistant.policy.labels import Destination, destination_of
from ai_assistant.protocol.offers import Ability, Price, WorkerFacts
from ai_assistant.protocol.worker import RemoteSource, TokenSource
from ai_assistant.scheduler.routing.facts import CandidateFacts, Pace, Standby
from ai_assistant.scheduler.routing.learned import Learned
from ai_assistant.scheduler.routing.routes import AUTO, PLAIN, Member, Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.served_model import Here
from ai_assistant.scheduler.speeds import (
    guess_elsewhere,
    guess_here,
    quality_elsewhere,
    quality_here,
)

_FREE = Price(input=0.0, output=0.0)
_HERE: frozenset[Ability] = frozenset({"chat", "text", "tools", "json", "grammar", "logprobs"})
_USUAL_ANSWER, _USUAL_STEP = 256, 0.02
"""Tokens and seconds, of those who stand before us at another node."""
_ENOUGH = 5.0
"""Observations behind a quantile that is believed."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One who may answer, and where that is."""

    name: str
    """A model here, or PROVIDER/MODEL."""
    source: TokenSource
    destination: Destination
    remote: RemoteSource | None = None
    """The source, where it is elsewhere."""
    weight: float = 0.0
    fallback: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All that clients may call it."""
        return (self.name, *(self.remote.offer.names if self.remote else ()))


class Candidates:
    """The node's models, those elsewhere, and the owner's names for sets of them."""

    def __init__(
        self, scheduler: Scheduler, remote: Sequence[RemoteSource], settings: RoutingSettings
    ) -> None:
        """`remote` in the owner's order."""
        self._scheduler = scheduler
        self._settings = settings
        self._every = [_elsewhere(source) for source in remote]
        self._named: dict[str, list[Candidate]] = {}
        for one in self._every:
            assert one.remote
            for name in dict.fromkeys((*one.remote.offer.names, one.name)):
                self._named.setdefault(name, []).append(one)
        self.learned = {one.name: Learned(reading=False) for one in self._every}

    def route(self, name: str) -> Route:
        """What the owner says of a name."""
        if name == AUTO and name not in self._named:
            return Route(models=(AUTO,), objective=self._settings.objective)
        return self._settings.routes.get(name, PLAIN)

    def plain(self, name: str) -> bool:
        """Only a model here has this name, or nobody."""
        return (
            name not in self._named
            and name not in self._settings.routes
            and (name != AUTO or self._scheduler.serves(AUTO))
        )

    def names(self) -> dict[str, list[Candidate]]:
        """Every name of models elsewhere that stands for itself."""
        return {
            name: found
            for name, found in self._named.items()
            if name in {own for one in found if one.remote for own in one.remote.offer.names}
        }

    def routes(self) -> list[str]:
        """The owner's names; with them, or with models elsewhere, also `auto`."""
        some = bool(self._settings.routes or self._every)
        return [*self._settings.routes, *([AUTO] if some and AUTO not in self._named else [])]

    def unknown(self) -> dict[str, list[str]]:
        """Names in routes that nobody answers to."""
        wanted = {
            name: [*(member.model for member in route.members), *route.fallback]
            for name, route in self._settings.routes.items()
        }
        found = {
            name: [model for model in models if not list(self._answering(model))]
            for name, models in wanted.items()
        }
        return {name: models for name, models in found.items() if models}

    def of(self, name: str) -> list[Candidate]:
        """Who answers to a name, in the owner's order; nobody twice."""
        route = self.route(name)
        members = route.members or (Member(name),)
        found: dict[str, Candidate] = {}
        for member in members:
            for one in self._answering(member.model):
                found.setdefault(one.name, _with(one, weight=member.weight))
        for other in route.fallback:
            for one in self._answering(other):
                found.setdefault(one.name, _with(one, fallback=True))
        return list(found.values())

    def _answering(self, name: str) -> Iterator[Candidate]:
        if name == AUTO and name not in self._named:
            yield from (self._here(one.id) for one in self._scheduler.models() if not one.embedding)
            yield from self._every
            return
        if self._scheduler.serves(name):
            yield self._here(name)
        yield from self._named.get(name, ())

    def here(self, name: str) -> Destination:
        """Our own engine of that model."""
        return Destination(name=name, reach="process")

    def _here(self, name: str) -> Candidate:
        return Candidate(name=name, source=self._scheduler, destination=self.here(name))

    # Facts.

    def facts(
        self, found: Sequence[Candidate], *, held: Mapping[str, int], online: bool
    ) -> list[CandidateFacts]:
        """What is known of each of them now; the rules are not asked."""
        return [self._facts(one, held.get(one.name, 0), online) for one in found]

    def _facts(self, one: Candidate, held: int, online: bool) -> CandidateFacts:
        if one.remote is None:
            return self._facts_here(one, self._scheduler.here(one.name), held)
        return self._facts_there(one, one.remote, held, online)

    def _facts_here(self, one: Candidate, here: Here, held: int) -> CandidateFacts:
        guess = guess_here(here.model)
        quality, guessed = quality_here(here.model, self._settings.quality)
        return CandidateFacts(
            name=one.name,
            place="process",
            abilities=frozenset({"embeddings"}) if here.model.embedding else _HERE,
            context=here.context or None,
            price=_FREE,
            # Those who compute at the same time share what the machine takes.
            energy=self._settings.energy / (here.crowd + 1),
            quality=quality,
            quality_guessed=guessed,
            weight=one.weight,
            standby="fallback" if one.fallback else "",
            rest="no memory is free for it while the loaded models are in use"
            if here.no_room
            else "",
            queue=here.queue,
            load=here.load if here.load is not None else guess.load or 0.0,
            pace=here.pace,
            guess=guess,
            cached_tokens=0 if here.load is None else held,
        )

    def _facts_there(
        self, one: Candidate, remote: RemoteSource, held: int, online: bool
    ) -> CandidateFacts:
        offer, seen = remote.offer, remote.facts()
        quality, guessed = quality_elsewhere(offer, self._settings.quality)
        away = not online and offer.place == "cloud"
        return CandidateFacts(
            name=one.name,
            place=offer.place,
            region=offer.region,
            abilities=offer.abilities,
            context=offer.context,
            price=offer.price,
            energy=self._settings.energy if offer.place == "machine" else 0.0,
            quality=quality,
            quality_guessed=guessed,
            weight=one.weight,
            standby="away" if away else _standby(one, seen),
            rest=_rest(seen),
            queue=_queue(seen),
            pace=_pace(self.learned[one.name].pace(seen.in_flight), seen),
            guess=guess_elsewhere(offer),
            cached_tokens=held,
            error_rate=seen.error_rate,
        )


def _elsewhere(source: RemoteSource) -> Candidate:
    offer = source.offer
    return Candidate(
        name=f"{offer.provider}/{offer.model}",
        source=source,
        destination=destination_of(offer),
        remote=source,
    )


def _with(one: Candidate, *, weight: float = 0.0, fallback: bool = False) -> Candidate:
    if one.weight == weight and one.fallback == fallback:
        return one
    return msgspec.structs.replace(one, weight=weight, fallback=fallback)


def _standby(one: Candidate, seen: WorkerFacts) -> Standby:
    if one.fallback:
        return "fallback"
    return "trial" if seen.state == "probing" else ""


def _rest(seen: WorkerFacts) -> str:
    """Why it is left alone, if it is."""
    match seen.state:
        case "refused":
            return "it does not accept the key"
        case "cooling":
            return f"it failed ({seen.last_error}) and rests for {seen.again_in:.0f} s"
        case "probing" if seen.in_flight:
            return f"it failed ({seen.last_error}) and is being tried by another request"
        case _:
            return ""


def _queue(seen: WorkerFacts) -> float:
    """Seconds until another node begins, by its own words; 0 where it tells nothing."""
    ahead = seen.running + seen.waiting - seen.slots + 1
    if not seen.slots or ahead <= 0:
        return 0.0
    return ahead / seen.slots * _USUAL_ANSWER * (seen.tpot.p50 or _USUAL_STEP)


def _pace(own: Pace, seen: WorkerFacts) -> Pace:
    """What this node's requests showed since it started, else what was kept of earlier ones."""
    late, usual = seen.ttft.p90, seen.ttft.p50
    believed = seen.ttft.count >= _ENOUGH and late is not None and usual is not None
    return Pace(
        first=own.first if own.first is not None else usual,
        per_prompt_token=own.per_prompt_token,
        tpot=own.tpot if own.tpot is not None else seen.tpot.p50,
        spread=max(late - usual, 0.0) if believed and late and usual else 0.0,
    )


def soonest(found: Sequence[Candidate]) -> float | None:
    """Seconds until one that rests may be asked again; None: waiting is no use."""
    facts = [one.remote.facts() for one in found if one.remote]
    waits = [one.again_in for one in facts if one.state in ("cooling", "probing")]
    return max(min(waits), 1.0) if waits else None
