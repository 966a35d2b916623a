"""The life of an engine process, with small real programs in the engine's place."""

import asyncio
import sys
import time

import pytest

from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError, ModelLoadFailed
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.workers.local import LocalWorker

MODEL = ModelInfo(
    id="m", name="m", path="/m.gguf", size_bytes=0, architecture="none", quantisation="none",
    parameters=0, context_train=2048,
)  # fmt: skip
PLAN = EnginePlan(
    model_path="/m.gguf", context_limit=2048, cells=2048, slots=4, retained=0, chunk=512,
    threads=1, threads_batch=1,
)  # fmt: skip
INSTANT = (sys.executable, "-m", "benchmarks.fake_engine", "4")


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def worker(command: tuple[str, ...], **options: int) -> LocalWorker:
    return LocalWorker(MODEL, PLAN, command=command, **options)


def request(number: int) -> GenerateRequest:
    return GenerateRequest(request_id=f"r{number}", model="m", prompt=TextPrompt("hi"))


def test_answers_reach_who_asked() -> None:
    async def run() -> None:
        local = worker(INSTANT)
        await local.start()
        await local.ready()

        async def ask(number: int) -> str:
            return "".join([chunk.text async for chunk in local.generate(request(number))])

        assert set(await asyncio.gather(*map(ask, range(20)))) == {" word word word."}
        await local.stop()
        assert local.status().state == "unloaded"

    asyncio.run(run())


def test_engine_that_dies_while_loading_is_given_up() -> None:
    async def run() -> None:
        local = worker(program("import sys; sys.exit('no such instruction')"), max_restarts=99)
        await local.start()
        with pytest.raises(ModelLoadFailed) as caught:
            await local.ready()
        assert "died 3 times" in caught.value.message
        assert "no such instruction" in caught.value.message
        assert local.status().state == "failed"

    asyncio.run(run())


def test_engine_that_cannot_be_started_is_a_named_error() -> None:
    async def run() -> None:
        local = worker(("/no/such/program",))
        await local.start()
        with pytest.raises(ModelLoadFailed) as caught:
            await local.ready()
        assert "could not be run" in caught.value.message

    asyncio.run(run())


def test_endless_line_of_complaints_stops_nothing() -> None:
    async def run() -> None:
        code = "import sys; sys.stderr.write('x' * 300_000); sys.stderr.flush(); sys.exit(3)"
        local = worker(program(code))
        await local.start()
        with pytest.raises(ModelLoadFailed):
            await local.ready()

    asyncio.run(run())


@pytest.mark.parametrize("drain", [True, False])
def test_stop_while_an_engine_keeps_dying_ends(drain: bool) -> None:
    async def run() -> None:
        local = worker(program("import sys; sys.exit(1)"), max_restarts=99)
        await local.start()
        await asyncio.sleep(0.15)
        begun = time.monotonic()
        await local.stop(drain=drain)
        assert time.monotonic() - begun < 3
        assert local.status().state in ("unloaded", "failed")

    asyncio.run(run())


def test_stop_of_an_engine_that_loads_for_ever_ends() -> None:
    async def run() -> None:
        local = worker(program("import time; time.sleep(600)"))
        await local.start()
        waiting = asyncio.create_task(local.ready())
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        await local.stop()
        assert time.monotonic() - begun < 2
        with pytest.raises(AssistantError):
            await waiting

    asyncio.run(run())


def test_torn_report_is_a_death_not_a_hang() -> None:
    async def run() -> None:
        code = (
            "import sys; sys.stdout.buffer.write(b'\\x05\\x00\\x00\\x00hello'); "
            "sys.stdout.flush(); sys.stdin.read()"
        )
        local = worker(program(code))
        await local.start()
        with pytest.raises(ModelLoadFailed) as caught:
            await local.ready()
        assert "broken report" in caught.value.message

    asyncio.run(run())
