"""The models of providers beside those here, where the owner has named any."""

import contextlib
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.config.sources import variables
from ai_assistant.jobs.network import HostNetwork
from ai_assistant.protocol.purse import Purse
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.scheduler import Scheduler

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def with_others(
    scheduler: Scheduler,
    settings: Settings,
    file: Path | None,
    purse: Purse,
    network: HostNetwork,
) -> AsyncGenerator[Router]:
    """The models here, and those of the providers where there are any."""
    wanted = (places.providers_file, places.policy_file)
    if not (file and any(path(file).exists() for path in wanted)):
        yield _warned(Router(scheduler, settings=settings.routing))
        return
    # Detectors, HTTP clients and prices: nobody waits for them who has no providers.
    from ai_assistant.policy.egress.log import EgressLog
    from ai_assistant.policy.gate import Gate
    from ai_assistant.policy.memory import Memory
    from ai_assistant.policy.memory_file import MemoryFile
    from ai_assistant.policy.rules_file import RulesFile
    from ai_assistant.workers.providers.fleet import Fleet
    from ai_assistant.workers.providers.providers_file import read_providers
    from ai_assistant.workers.providers.records_file import RecordsFile
    from ai_assistant.workers.providers.upkeep import kept_up

    egress = EgressLog(places.egress_dir(settings) / "node")
    memory = Memory(MemoryFile(places.data_dir(settings) / "conversation-labels.jsonl"))
    gate = Gate(RulesFile(places.policy_file(file)), egress, memory, heard=network.hear)
    fleet = Fleet(
        read_providers(places.providers_file(file)),
        environ=variables(),
        folder=file.parent,
        gate=gate,
        records=RecordsFile(places.providers_seen_file(settings)),
    )
    for name, problem in fleet.problems.items():
        log.warning("The provider %s is left out: %s", name, problem)
    network.know(worker.offer.address for worker in fleet.workers)
    try:
        routing = settings.routing
        router = Router(
            scheduler,
            fleet.workers,
            gate,
            routing,
            online=network.has_route,
            purse=purse,
            with_blocks=settings.cache.hand_over,
        )
        async with kept_up(fleet, gate):
            yield _warned(router)
    finally:
        await fleet.close(drain=False)
        egress.close()
        memory.close()


def _warned(router: Router) -> Router:
    """Say which of the owner's routes name models that nobody has."""
    for name, models in router.unknown_names().items():
        log.warning("routes.%s: nobody has %s; see `ai-assistant models`.", name, ", ".join(models))
    return router
