"""The only door to DBOS: it runs a batch's stages, and after a crash those that were not done.

Importing it costs half a second, so that it is imported when the first batch comes. It has one
instance in a process; whoever launches it must own it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID

from ai_assistant.jobs.errors import JobsUnavailable
from ai_assistant.jobs.states import Outcome

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

_OPEN = ("PENDING", "ENQUEUED", "DELAYED")
_QUEUE = "ai-assistant-batches"
_AT_ONCE = 64
"""Batches; most of them only wait for a place."""
_LOOK_SECONDS = 1.0
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0
_VERSION = "1"
"""Of the stages' order. Another one would leave unfinished batches to nobody."""


class Staged(Protocol):
    """What is run, on the node's loop."""

    async def check(self, name: str) -> None: ...

    async def work(self, name: str) -> Outcome: ...

    async def finish(self, name: str, outcome: Outcome) -> None: ...


class Durable:
    """A launched DBOS. Methods block and are called from threads."""

    current: "Durable | None" = None

    def __init__(
        self,
        url: str,
        executor: str,
        stages: Staged,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Launch it: what was interrupted goes on. Raises `JobsUnavailable`."""
        self.stages = stages
        self.loop = loop
        self.alive: set[str] = set()
        self._executor = executor
        Durable.current = self
        config: DBOSConfig = {
            "name": "ai-assistant",
            "system_database_url": url,
            "application_version": _VERSION,
            "executor_id": executor,
            "enable_otlp": False,
            "log_level": "ERROR",
            "scheduler_polling_interval_sec": 3600.0,
            "sys_db_pool_size": 5,
        }
        try:
            DBOS(config=config)
            _use_our_log()
            DBOS.launch()
            DBOS.register_queue(
                _QUEUE, worker_concurrency=_AT_ONCE, polling_interval_sec=_LOOK_SECONDS
            )
            _forget_ended()
        except Exception as error:
            self.close()
            raise JobsUnavailable(f"The queue of jobs does not start: {error}.") from error

    def submit(self, name: str, *, again: bool = False) -> None:
        """Run a batch's stages; a batch that is being run already is left alone.

        `again`: its run is known to have died, and another one takes its place.
        """
        runs = DBOS.list_workflows(
            workflow_id_prefix=f"{name}.", load_input=False, load_output=False
        )
        open_runs = [run.workflow_id for run in runs if run.status in _OPEN]
        if open_runs and not again:
            return
        DBOS.cancel_workflows(open_runs)
        with SetWorkflowID(f"{name}.{len(runs)}"):
            DBOS.enqueue_workflow(_QUEUE, _run_batch, name)

    def is_dead(self, name: str) -> bool:
        """Whether its run was begun here and is no more; another node's is not ours to judge."""
        if name in self.alive:
            return False
        runs = DBOS.list_workflows(
            workflow_id_prefix=f"{name}.",
            status="PENDING",
            executor_id=self._executor,
            load_input=False,
        )
        return bool(runs)

    def close(self) -> None:
        """Stop where it stands; a next launch goes on from there."""
        DBOS.destroy()
        Durable.current = None


def _use_our_log() -> None:
    """Into the node's log like everything else, and only what matters."""
    logger = logging.getLogger("dbos")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.ERROR)


def _forget_ended() -> None:
    """Their batches say what became of them."""
    for status in ("SUCCESS", "ERROR", "CANCELLED"):
        ended = DBOS.list_workflows(status=status, load_input=False, load_output=False)
        DBOS.delete_workflows([run.workflow_id for run in ended])


@DBOS.workflow(name="batch")
async def _run_batch(name: str) -> None:
    alive = _running().alive
    alive.add(name)
    try:
        outcome = await _work(name) if await _check(name) else "failed"
        await _finish(name, outcome)
    finally:
        alive.discard(name)


@DBOS.step(name="check")
async def _check(name: str) -> bool:
    async def checked(stages: Staged) -> bool:
        await stages.check(name)
        return True

    return await _on_node(name, checked, otherwise=False)


@DBOS.step(name="work")
async def _work(name: str) -> Outcome:
    return await _on_node(name, lambda stages: stages.work(name), otherwise="failed")


@DBOS.step(name="finish")
async def _finish(name: str, outcome: Outcome) -> bool:
    async def finished(stages: Staged) -> bool:
        await stages.finish(name, outcome)
        return True

    return await _on_node(name, finished, otherwise=False)


async def _on_node(
    name: str, stage: Callable[[Staged], Coroutine[Any, Any, Value]], *, otherwise: Value
) -> Value:
    """Run a stage in the node's loop; while its database or disk cannot be used, wait for it.

    `otherwise` is the value of a stage that fails by a mistake of ours.
    """
    wait, said = _FIRST_WAIT, ""
    while True:
        durable = _running()
        work = asyncio.run_coroutine_threadsafe(stage(durable.stages), durable.loop)
        try:
            return await asyncio.wrap_future(work)
        except JobsUnavailable as error:
            if error.message != said:
                _log.warning("%s Trying again.", error.message)
            said = error.message
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        except Exception:  # noqa: BLE001 - the batch must end, with what is done
            _log.exception("batch %s cannot be worked on", name)
            return otherwise


def _running() -> Durable:
    found = Durable.current
    assert found is not None
    return found
