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

_QUEUE = "ai-assistant-batches"
_AT_ONCE = 64
"""Batches; most of them only wait for a place."""
_LOOK_SECONDS = 0.25
_AGAIN_SECONDS = 5.0
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

    def submit(self, name: str) -> None:
        """Run a batch's stages; a batch that is being run already is left alone."""
        runs = DBOS.list_workflows(workflow_id_prefix=f"{name}.", load_input=False)
        if any(run.status in ("PENDING", "ENQUEUED", "DELAYED") for run in runs):
            return
        with SetWorkflowID(f"{name}.{len(runs)}"):
            DBOS.enqueue_workflow(_QUEUE, _run_batch, name)

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
    try:
        await _check(name)
        outcome = await _work(name)
    except Exception:  # noqa: BLE001 - the batch must end, with what is done
        _log.exception("batch %s cannot be worked on", name)
        outcome = "failed"
    await _finish(name, outcome)


@DBOS.step(name="check")
async def _check(name: str) -> None:
    await _on_node(lambda stages: stages.check(name))


@DBOS.step(name="work")
async def _work(name: str) -> Outcome:
    return await _on_node(lambda stages: stages.work(name))


@DBOS.step(name="finish")
async def _finish(name: str, outcome: Outcome) -> None:
    await _on_node(lambda stages: stages.finish(name, outcome))


async def _on_node(make: Callable[[Staged], Coroutine[Any, Any, Value]]) -> Value:
    """Run a stage in the node's loop; while its database or disk cannot be used, wait for it."""
    while True:
        durable = _running()
        work = asyncio.run_coroutine_threadsafe(make(durable.stages), durable.loop)
        try:
            return await asyncio.wrap_future(work)
        except JobsUnavailable as error:
            _log.warning("%s Trying again.", error.message)
            await asyncio.sleep(_AGAIN_SECONDS)


def _running() -> Durable:
    found = Durable.current
    assert found is not None
    return found
