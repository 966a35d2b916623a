"""The models of this machine: a scheduler whose workers are engines, each with its plan."""

import contextlib
import functools
import logging
import shutil

from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.devices.keep import Place, plan_keeping
from ai_assistant.kvcache.cold import shelf
from ai_assistant.protocol.engine_plan import Pin
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.store import models
from ai_assistant.store.pins import read_pins
from ai_assistant.workers.drafts import Drafts
from ai_assistant.workers.idle import Idle
from ai_assistant.workers.local import LocalWorker
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.power import NodePower

log = logging.getLogger(__name__)

VERSION = "0.1.0"


def known_models(settings: Settings) -> tuple[ModelInfo, ...]:
    """The models that a node with these settings serves, the default first."""
    return models.known_models(settings.store.models)


def build_scheduler(
    settings: Settings, planner: Planner, idle: Idle, power: NodePower
) -> Scheduler:
    """Nothing is loaded yet."""
    here = known_models(settings)
    for told in models.renamed(settings.store.models):
        log.warning("%s", told)
    drafts = Drafts(settings.engine, here, planner)

    def make_worker(model: ModelInfo) -> tuple[Worker, int]:
        planned = drafts.beside(model, planner.plan(model))
        place = _cache_place(settings)
        worker = LocalWorker(
            model,
            plan_keeping(planned.plan, settings.cache, place, _pins(settings)),
            max_restarts=settings.scheduler.max_restarts,
            told=planned.told,
            smaller=planned.smaller,
            learn=functools.partial(planner.learn, model),
            with_blocks=settings.cache.hand_over,
        )
        idle.watch(model, worker)
        power.add(worker)
        return worker, planned.need

    return Scheduler(
        here,
        make_worker,
        settings.scheduler,
        version=VERSION,
        load_wait_seconds=settings.server.load_wait_seconds,
    )


def _cache_place(settings: Settings) -> Place:
    folder = places.cache_dir(settings)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(folder).free
        return Place(str(folder), used=shelf.status(folder).bytes, free=free)
    return Place(str(folder), used=0, free=0)


def _pins(settings: Settings) -> tuple[Pin, ...]:
    """A file that cannot be read must not keep a model from its users."""
    try:
        return read_pins(places.cache_dir(settings))
    except AssistantError as error:
        log.warning("The pinned prompts are not used: %s", error)
        return ()
