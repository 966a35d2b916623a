"""A load that nobody waits for any more is given up, unless somebody comes back for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.requests import GenerateRequest, Sampling, TextPrompt
from ai_assistant.protocol.status import ModelInfo, ModelState, ModelStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings

PATIENCE = 0.15


def model(name: str) -> ModelInfo:
    return ModelInfo(id=name, name=name, path=f"/{name}", size_bytes=1, architecture="llama",
                     quantisation="F32", parameters=1, context_train=1)  # fmt: skip


class SlowLoad:
    """A worker whose load takes as long as the test likes."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.state: ModelState = "unloaded"
        self.loaded = asyncio.Event()
        self.stopped = 0

    def status(self) -> ModelStatus:
        return ModelStatus(model=self.info, state=self.state, progress=0.3)

    async def start(self) -> None:
        if self.state == "unloaded":
            self.state = "loading"

    async def ready(self) -> None:
        await self.loaded.wait()
        self.state = "ready"

    async def stop(self, *, drain: bool = True) -> None:
        self.stopped += 1
        self.state = "unloaded"

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        yield TokenChunk(text="done")


class House:
    """A scheduler with a default model and another one."""

    def __init__(self, **settings: float) -> None:
        self.workers: dict[str, SlowLoad] = {}
        self.make: type[SlowLoad] = SlowLoad
        self.scheduler = Scheduler(
            (model("main"), model("other")),
            self._make,
            SchedulerSettings(**{"abandon_load_seconds": PATIENCE} | settings),  # type: ignore[arg-type]
            version="0",
            load_wait_seconds=10,
        )

    def _make(self, info: ModelInfo) -> tuple[Worker, int]:
        self.workers[info.id] = self.make(info)
        return self.workers[info.id], 1  # type: ignore[return-value]

    async def ask(self, name: str, seconds: float) -> str:
        """The answer, or nothing after so much patience."""
        request = GenerateRequest(
            request_id="1", model=name, prompt=TextPrompt(""), sampling=Sampling(), max_tokens=1
        )
        text = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for chunk in self.scheduler.generate(request):
                    text += chunk.text
        return text

    def state(self, name: str) -> ModelState:
        return next(one.state for one in self.scheduler.status().models if one.model.id == name)


def test_it_ends_when_nobody_waits() -> None:
    async def run() -> None:
        house = House()
        await house.ask("other", 0.05)
        assert house.state("other") == "loading"
        await asyncio.sleep(2 * PATIENCE)
        assert house.state("other") == "unloaded"
        assert house.workers["other"].stopped == 1

    asyncio.run(run())


def test_somebody_who_comes_back_finds_it_going_on() -> None:
    async def run() -> None:
        house = House()
        await house.ask("other", 0.05)
        waiting = asyncio.create_task(house.ask("other", 5))
        await asyncio.sleep(2 * PATIENCE)
        assert house.state("other") == "loading"
        house.workers["other"].loaded.set()
        assert await waiting == "done"
        assert house.workers["other"].stopped == 0

    asyncio.run(run())


def test_the_default_model_is_loaded_whoever_waits() -> None:
    async def run() -> None:
        house = House()
        await house.ask("main", 0.05)
        await asyncio.sleep(2 * PATIENCE)
        assert house.state("main") == "loading"

    asyncio.run(run())


def test_the_owner_may_have_loads_go_on() -> None:
    async def run() -> None:
        house = House(abandon_load_seconds=0)
        await house.ask("other", 0.05)
        await asyncio.sleep(2 * PATIENCE)
        assert house.state("other") == "loading"

    asyncio.run(run())


def test_an_idle_model_goes_before_another_one_would_run_from_disk() -> None:
    async def run() -> None:
        house = House()
        plans = {"main": 0, "other": 100}

        class Planned(SlowLoad):
            """Its plan leaves a part of the weights on disk as long as `main` is in memory."""

            def ease(self, warm_bytes: int, slots: int) -> None:
                """Nothing to give."""

            @property
            def plan(self) -> EnginePlan:
                crowded = house.state("main") != "unloaded"
                resident = plans[self.info.id] if crowded else 0
                return EnginePlan(model_path="/m", context_limit=1, cells=1, slots=1, retained=0,
                                  chunk=1, threads=1, threads_batch=1,
                                  resident_bytes=resident)  # fmt: skip

        house.make = Planned
        await house.ask("main", 0.05)
        await house.ask("other", 0.05)
        assert house.state("main") == "unloaded"
        assert house.state("other") == "loading"

    asyncio.run(run())
