"""The only way out: detect, decide, redact, record. Nothing is sent that did not pass here.

`open` is the scheduler's: it gives a request that may go to one destination. `let_out` is the
workers': they ask it with the very bytes before every send, and it lets out only what was opened.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from ai_assistant.policy.answer import AnswerRestorer
from ai_assistant.policy.decide import Decision, decide
from ai_assistant.policy.egress.clerk import Clerk
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.errors import KeptHere, NotRecorded
from ai_assistant.policy.examine import Examined, Examiner
from ai_assistant.policy.labels import Destination, Facts, Labels, bound_for, facts_of
from ai_assistant.policy.memory import Memory
from ai_assistant.policy.redact import CannotRedact, Redacted, redact
from ai_assistant.policy.request_text import with_texts, without_owner
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.policy.vault import Entry, Vault
from ai_assistant.protocol.egress import Departure, Outcome
from ai_assistant.protocol.errors import ProviderUnreachable
from ai_assistant.protocol.requests import OutputFormat

log = logging.getLogger(__name__)

R = TypeVar("R", bound=msgspec.Struct)

_MOST_PERMITS = 10_000
_PERMIT_SECONDS = 24 * 3600.0
_SHORTEST_LEAK = 6


class _Permit(msgspec.Struct):
    """What `open` allowed, until it is closed."""

    destination: Destination
    labels: Labels
    decision: Decision
    hidden: dict[str, int]
    secret: tuple[bytes, ...]
    """Texts that must not be in the bytes."""
    rules: str
    until: float


class Outbound(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A request as one destination may have it. Made by `Gate.open` alone."""

    request: R
    """With placeholders; beyond this process without the tenant: give this to the worker."""
    destination: Destination
    decision: Decision
    labels: Labels
    vault: Vault
    hidden: dict[str, int]
    """Placeholders put in, by label."""

    def restorer(self) -> AnswerRestorer:
        """For the answer's pieces."""
        wanted = getattr(self.request, "format", None)
        json_text = isinstance(wanted, OutputFormat) and wanted.kind.startswith("json")
        return AnswerRestorer(self.vault if self.hidden else Vault(), json_text=json_text)


class Gate:
    """One for the node. Methods that wait for the disk are coroutines."""

    def __init__(
        self,
        rules: RulesFile,
        log: EgressLog,
        memory: Memory | None = None,
        *,
        heard: Callable[[str, bool], None] = lambda _host, _reached: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory`: what sticks to conversations; without one that is forgotten at the end.

        `heard`: told of each host whether it was reached.
        """
        self._examiner = Examiner(rules)
        self._log = log
        self._memory = memory or Memory()
        self._heard = heard
        self._clerk = Clerk(log)
        self._clock = clock
        self._permits: OrderedDict[tuple[str, str], _Permit] = OrderedDict()
        self._away: dict[tuple[str, str], list[str]] = {}

    def examine(self, request: msgspec.Struct, facts: Facts | None = None) -> Examined:
        """Read the request once; everything else goes on from this.

        What is found sticks to its conversation. `facts` says more than the request itself.
        """
        facts = _joined(facts_of(request), facts)
        talk = self._memory.conversation(request, facts)
        carried = facts.carried | self._memory.labels(talk)
        examined = self._examiner.examine(request, msgspec.structs.replace(facts, carried=carried))
        self._memory.keep(talk, examined.labels)
        return msgspec.structs.replace(examined, conversation=talk)

    def must_read(self, request: msgspec.Struct) -> bool:
        """Whether also a request that stays in this process must be examined.

        It names its conversation, has labels that are not in its text, or a rule keeps some text
        even from our own engines.
        """
        facts = facts_of(request)
        return bool(facts.conversation or facts.declared) or self._examiner.concerns(facts)

    def decide(
        self, examined: Examined, destinations: Sequence[Destination]
    ) -> tuple[Decision, ...]:
        """For each destination whether the request may go there, and why: for routing."""
        return decide(examined.labels, examined.rules, destinations, regions=examined.regions)

    def foresee(
        self, request: msgspec.Struct, destinations: Sequence[Destination]
    ) -> tuple[Decision, ...]:
        """What holds for each destination whatever the text is: it can only get stricter."""
        return self.decide(self._examiner.examine_text("", facts_of(request)), destinations)

    async def open(
        self,
        request: R,
        examined: Examined,
        destination: Destination,
        *,
        request_id: str,
        vault: Vault | None = None,
    ) -> Outbound[R]:
        """The request as it may go there; raises `KeptHere` and `NotRecorded`.

        `request` must be the one that was examined. Without `vault` the placeholders are those of
        its conversation.
        """
        (decision,) = self.decide(examined, [destination])
        if decision.action == "refuse":
            await self._refused(decision, examined, request_id)
            raise KeptHere(_explained(decision))
        talk = examined.conversation
        given = self._memory.vault(talk) if vault is None else vault
        redacted = self._redacted(examined, decision, given)
        if redacted is None:
            await self._refused(decision, examined, request_id)
            raise KeptHere(
                f"It cannot go to {destination.name}: nothing can be hidden in its JSON."
            )
        self._memory.keep_vault(talk, redacted.vault)
        changed = with_texts(request, list(redacted.texts))
        outbound = Outbound(
            # Our own engine keeps tenants apart by it.
            request=changed if destination.reach == "process" else without_owner(changed),
            destination=destination,
            decision=decision,
            labels=examined.labels,
            vault=redacted.vault,
            hidden=redacted.counts,
        )
        if destination.reach != "process":
            self._permit(request_id, outbound, examined.rules.digest, redacted.used)
        return outbound

    async def let_out(self, departure: Departure) -> None:
        """Record what is about to leave; raises `KeptHere` and `NotRecorded`: then send nothing."""
        permit = self._permits.get(_key(departure))
        where = bound_for(departure)
        if permit is None or permit.destination != where or permit.until < self._clock():
            raise KeptHere(
                f"Nothing was sent to {where.name}: the request did not pass the gate for it."
            )
        leaked = any(secret in departure.body for secret in permit.secret)
        if leaked:
            await asyncio.to_thread(
                self._log.note,
                self._record(departure, permit, "refused", "", "text was not hidden"),
            )
            raise KeptHere(f"Nothing was sent to {where.name}: protected text was still in it.")
        identity = secrets.token_hex(8)
        record = self._record(departure, permit, "sent", identity, "")
        writing = self._clerk.commit(record, departure.body)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(lambda done: self._not_sent(done, departure, identity))
            raise
        self._away.setdefault(_key(departure), []).append(identity)

    def came_back(
        self,
        departure: Departure,
        outcome: Outcome,
        *,
        status: int = 0,
        received: int = 0,
        error: str = "",
    ) -> None:
        """Record how a departure went. Without it the log says `unknown` after the next start."""
        if status or error == ProviderUnreachable.code:
            self._heard(departure.host, bool(status))
        waiting = self._away.get(_key(departure))
        if not waiting:
            return
        identity = waiting.pop(0)
        if not waiting:
            del self._away[_key(departure)]
        record = Record(
            kind="ended",
            id=identity,
            request=departure.request_id,
            outcome=outcome,
            status=status,
            received=received,
            error=error,
        )
        try:
            self._log.note(record)
        except NotRecorded as refusal:  # the next departure will be refused, this answer is whole
            log.warning("%s", refusal.message)

    def close(self, request_id: str, destination: Destination) -> None:
        """The request is done there: nothing more of it may leave."""
        self._permits.pop((request_id, destination.name), None)

    def _not_sent(self, done: "asyncio.Future[None]", departure: Departure, identity: str) -> None:
        """It was recorded, but whoever wanted to send it had gone by then."""
        if done.cancelled() or done.exception() is not None:
            return
        self._away.setdefault(_key(departure), []).insert(0, identity)
        self.came_back(departure, "cancelled", error="not_sent")

    def _redacted(self, examined: Examined, decision: Decision, vault: Vault) -> Redacted | None:
        kept = {name: rule.restore for name, rule in examined.rules.labels.items()}
        try:
            return redact(examined.parts, examined.findings, decision.redacts, vault, kept=kept)
        except CannotRedact:
            return None

    def _permit(
        self, request_id: str, outbound: Outbound[R], rules: str, used: tuple[Entry, ...]
    ) -> None:
        now = self._clock()
        self._permits[request_id, outbound.destination.name] = _Permit(
            destination=outbound.destination,
            labels=outbound.labels,
            decision=outbound.decision,
            hidden=outbound.hidden,
            secret=tuple(form for entry in used for form in _forms(entry.value)),
            rules=rules,
            until=now + _PERMIT_SECONDS,
        )
        while len(self._permits) > _MOST_PERMITS:
            self._permits.popitem(last=False)

    async def _refused(self, decision: Decision, examined: Examined, request_id: str) -> None:
        where = decision.destination
        record = Record(
            kind="refused",
            request=request_id,
            destination=where.name,
            place=where.reach,
            region=where.region,
            labels=tuple(sorted(examined.labels.names)),
            decision="refuse",
            reason=decision.reason,
            rules=examined.rules.digest,
        )
        await asyncio.to_thread(self._log.note, record)

    def _record(
        self, departure: Departure, permit: _Permit, kind: str, identity: str, reason: str
    ) -> Record:
        return Record(
            kind="sent" if kind == "sent" else "refused",
            id=identity,
            request=departure.request_id,
            destination=departure.provider,
            place=permit.destination.reach,
            region=departure.region,
            host=departure.host,
            path=departure.path,
            model=departure.model,
            labels=tuple(sorted(permit.labels.names)),
            decision=permit.decision.action if kind == "sent" else "refuse",
            hidden=permit.hidden,
            reason=reason,
            rules=permit.rules,
        )


def _joined(facts: Facts, more: Facts | None) -> Facts:
    """Both; where they differ the latter counts, and labels are united."""
    if more is None:
        return facts
    return Facts(
        tenant=more.tenant or facts.tenant,
        model=more.model or facts.model,
        endpoint=more.endpoint or facts.endpoint,
        client=more.client or facts.client,
        conversation=more.conversation or facts.conversation,
        carried=facts.carried | more.carried,
        declared=facts.declared | more.declared,
        regions=more.regions or facts.regions,
    )


def _key(departure: Departure) -> tuple[str, str]:
    return departure.request_id, departure.provider


def _forms(value: str) -> set[bytes]:
    """The bytes by which a text would stand in a body."""
    if len(value) < _SHORTEST_LEAK:
        return set()
    plain = value.encode("utf-8", "replace")
    escaped = msgspec.json.encode(plain.decode()).strip(b'"')
    ascii_only = value.encode("ascii", "backslashreplace").decode()
    return {plain, escaped, ascii_only.encode()}


def _explained(decision: Decision) -> str:
    where = decision.destination
    return f"It may not go to {where.name} ({where.reach}): {decision.reason}."
