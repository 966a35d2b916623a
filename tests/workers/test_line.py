"""Requests wait while it is not known which engine gets them, and those given up are not sent."""

import asyncio
import contextlib

from tests.workers.test_local import INSTANT, request, worker

from ai_assistant.workers.local import LocalWorker


async def answer(local: LocalWorker, number: int) -> str:
    return "".join([chunk.text async for chunk in local.generate(request(number))])


def test_requests_wait_while_the_line_is_held() -> None:
    async def run() -> None:
        local = worker(INSTANT)
        await local.start()
        await local.ready()
        local.line.hold()
        waiting = [asyncio.create_task(answer(local, number)) for number in range(3)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        waiting[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting[1]
        local.line.let_go()
        assert await waiting[0] == await waiting[2] == " word word word."
        await local.stop()

    asyncio.run(run())


def test_engine_that_knows_no_moves_leaves_the_worker_as_it_was() -> None:
    async def run() -> None:
        local = worker(INSTANT)
        await local.start()
        await local.ready()
        plan = local.plan
        moving = asyncio.create_task(local.move(plan, "auto", lambda _: None))
        await asyncio.sleep(0.1)
        await local.stop(drain=False)  # in the middle of it
        with contextlib.suppress(Exception):
            await moving
        assert moving.done()
        assert local.status().state == "unloaded"
        assert local.plan == plan

    asyncio.run(run())
