"""`ai-assistant providers test`: every byte goes through the gate, as in the node."""

import secrets

import msgspec

from ai_assistant.cli.output import columns
from ai_assistant.config import places
from ai_assistant.config.loading import Loaded
from ai_assistant.config.sources import variables
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import Facts, destination_of
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.requests import GenerateRequest
from ai_assistant.workers.providers import probe
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.probe import Probe
from ai_assistant.workers.providers.provider import Provider
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.worker import RemoteWorker


async def probe_all(loaded: Loaded, providers: dict[str, Provider]) -> list[Probe]:
    """Every model of every provider, one after the other, so that none disturbs another."""
    log = EgressLog(places.egress_dir(loaded.settings) / "providers-test")
    gate = Gate(RulesFile(places.policy_file(loaded.file)), log)
    fleet = Fleet(
        providers,
        environ=variables(),
        folder=loaded.file.parent,
        gate=gate,
        records=RecordsFile(places.providers_seen_file(loaded.settings)),
    )
    found = [
        Probe(provider=name, model="", error=problem, error_code="not_usable")
        for name, problem in fleet.problems.items()
    ]
    try:
        for worker in fleet.workers:
            found.append(await _probe(gate, worker))
    finally:
        await fleet.close()
        log.close()
    return found


async def _probe(gate: Gate, worker: RemoteWorker) -> Probe:
    name = f"test-{secrets.token_hex(6)}"
    try:
        request = await _let_out(gate, worker, probe.question(name))
        found = await probe.measure(worker, request)
        if found.error is not None:
            return found
        half = await _let_out(gate, worker, probe.half_answered(f"{name}-2"))
        return msgspec.structs.replace(found, continues=await probe.goes_on(worker, half))
    except AssistantError as error:
        offer = worker.offer
        return Probe(
            provider=offer.provider, model=offer.model, error=error.message, error_code=error.code
        )
    finally:
        for one in (name, f"{name}-2"):
            gate.close(one, destination_of(worker.offer))


async def _let_out(gate: Gate, worker: RemoteWorker, request: GenerateRequest) -> GenerateRequest:
    facts = Facts(endpoint="providers test", client="ai-assistant", model=worker.offer.model)
    examined = gate.examine(request, facts)
    outbound = await gate.open(
        request, examined, destination_of(worker.offer), request_id=request.request_id
    )
    return outbound.request


def table(probes: list[Probe]) -> str:
    """Figures of those that answered, and why the others did not."""
    head = ("provider", "model", "first token", "tokens/s", "price", "continues", "result")
    return columns(head, [_row(one) for one in probes])


def _row(one: Probe) -> tuple[str, ...]:
    goes_on = {True: "yes", False: "NO", None: "-"}[one.continues]
    if one.error is not None:
        return (one.provider, one.model or "-", "-", "-", "-", "-", one.error)
    return (
        one.provider,
        one.model,
        milliseconds(one.ttft_seconds),
        "-" if one.tokens_per_second is None else f"{one.tokens_per_second:.1f}",
        "unknown" if one.dollars is None else f"${one.dollars:.6f}",
        goes_on,
        "ok",
    )


def milliseconds(seconds: float | None) -> str:
    """For columns."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
