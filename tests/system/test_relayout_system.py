"""A model follows its machine while it answers: a group grants more cores, and the stream that is
being written goes on unbroken. Real engine, real scheduler; the group's file is the test's own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import structs
from tests.scheduler.test_easing import Clock
from tests.system.running_node import RunningNode
from tests.system.test_moving_node import Said, assert_same, move, moved

from ai_assistant.devices.facts import read_cpu
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.devices.worth_moving import LASTS, REST
from ai_assistant.protocol.chunks import TokenLogprob
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.moves import MoveResult, Want
from ai_assistant.protocol.relayout import Proposal, Usage
from ai_assistant.protocol.requests import GenerateRequest, Sampling, TextPrompt
from ai_assistant.protocol.status import EngineStatus, ModelInfo, PlanStatus
from ai_assistant.protocol.worker import Worker
from ai_assistant.scheduler.mover import Mover
from ai_assistant.scheduler.relayout import Relayout
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.store.models import read_model, starter_path
from ai_assistant.workers.deciding import decide_move
from ai_assistant.workers.local import LocalWorker
from ai_assistant.workers.planning import Planner
from ai_assistant.workers.proposing import Proposer

TOKENS, STREAMS = 300, 4


class Machine:
    """A node's parts around the starter, on a machine whose granted cores the test decides."""

    def __init__(self, folder: Path) -> None:
        self.quota = folder / "sys/fs/cgroup/cpu.max"
        self.quota.parent.mkdir(parents=True)
        self.grant(1)
        self.planner = Planner(EngineSettings(), folder, kinds_of_gpu=frozenset)
        self.scheduler = Scheduler(
            (read_model(starter_path(), "starter"),), self._worker, SchedulerSettings(),
            version="test", load_wait_seconds=60,
        )  # fmt: skip
        self.clock = Clock()
        self.mover = Mover(self.scheduler, decide_move)
        self.proposer = Proposer(self.planner, EngineSettings(), root=folder)
        self.watcher = Relayout(
            self.scheduler, self.mover, self.propose, calm=lambda: True, clock=self.clock
        )

    def propose(
        self, model: ModelInfo, plan: EnginePlan, engine: EngineStatus, usage: Usage
    ) -> Proposal | None:
        """On a machine where nothing else runs, whatever runs beside this test."""
        alone = structs.replace(engine, cores_busy=0.0)
        return self.proposer(model, plan, alone, usage)

    def grant(self, cores: int) -> None:
        self.quota.write_text(f"{cores * 100_000} 100000\n")

    def _worker(self, model: ModelInfo) -> tuple[Worker, int]:
        planned = self.planner.plan(model)
        plan = structs.replace(planned.plan, threads=1, threads_batch=1)
        return LocalWorker(model, plan, told=planned.told), planned.need

    async def story(
        self, number: int, heard: Callable[[int], Awaitable[None]] | None = None
    ) -> Said:
        """A long greedy answer; `heard` is told of each piece."""
        request = GenerateRequest(
            request_id=f"r{number}", model="starter", prompt=TextPrompt(f"Story {number}: once"),
            max_tokens=TOKENS, ignore_eos=True, logprobs=2,
            sampling=Sampling(temperature=0, repetition_penalty=1.0),
        )  # fmt: skip
        text, tokens, pieces = "", list[TokenLogprob](), 0
        async for chunk in self.scheduler.generate(request):
            text += chunk.text
            tokens += chunk.logprobs
            pieces += 1
            if heard:
                await heard(pieces)
        assert len(tokens) == TOKENS, "each token is told once"
        return Said(text, tokens)

    async def stories(self, heard: Callable[[int], Awaitable[None]]) -> list[Said]:
        """Several at once; `heard` is told of the first one's pieces."""
        others = [self.story(number) for number in range(1, STREAMS)]
        return list(await asyncio.gather(self.story(0, heard), *others))

    async def look(self, seconds: float) -> None:
        for _ in range(int(seconds // 10) + 1):
            await self.watcher.look()
            self.clock.now += 10


async def _nothing() -> None: ...


@pytest.mark.skipif(read_cpu().compute_cores < 2, reason="needs a second core")
def test_more_cores_are_taken_under_a_running_stream(tmp_path: Path) -> None:
    async def run() -> None:
        machine = Machine(tmp_path)
        scheduler = machine.scheduler
        await scheduler.start()
        try:
            expected = await machine.stories(lambda _: _nothing())
            await machine.look(2 * LASTS)
            assert scheduler.state_of("starter").moved is None, "nothing has changed yet"
            before = scheduler.state_of("starter").engine

            async def grow(pieces: int) -> None:
                if pieces == 5:
                    machine.grant(2)
                    await machine.look(LASTS)

            assert_same(await machine.stories(grow), expected)
            status = scheduler.state_of("starter")
            assert status.moved
            assert (status.moved.by, status.moved.how) == ("node", "in place")
            assert "2 cores are granted, the plan had 1" in status.moved.why
            assert status.moved.error is None
            assert status.plan
            assert "2 threads" in status.plan.summary
            assert before
            assert status.engine
            assert status.engine.pid == before.pid, "the weights stay"
            assert not status.held
        finally:
            await scheduler.stop(drain=False)

    asyncio.run(run())


def test_weights_move_to_another_engine_under_running_streams(tmp_path: Path) -> None:
    """As where a GPU has room again; here the other layout is only said to be quicker."""

    async def run() -> None:
        machine = Machine(tmp_path)
        scheduler = machine.scheduler
        watcher = Relayout(
            scheduler, machine.mover, _off_the_gpu, calm=lambda: True, clock=machine.clock
        )
        await scheduler.start()
        try:
            expected = await machine.stories(lambda _: _nothing())
            before = scheduler.state_of("starter").engine

            async def look(pieces: int) -> None:
                if pieces == 5:
                    await watcher.look()
                    machine.clock.now += LASTS
                    await watcher.look()

            assert_same(await machine.stories(look), expected)
            status = scheduler.state_of("starter")
            assert status.moved
            assert (status.moved.how, status.moved.error) == ("beside", None)
            assert status.moved.paused_seconds > 0
            assert before
            assert status.engine
            assert status.engine.pid != before.pid
            assert status.restarts == 0
            assert status.plan
            assert status.plan.summary == "off the GPU"
        finally:
            await scheduler.stop(drain=False)

    asyncio.run(run())


def _off_the_gpu(
    model: ModelInfo, plan: EnginePlan, _engine: EngineStatus, _usage: Usage
) -> Proposal:
    new = structs.replace(plan, gpu_layers=0)
    return Proposal(
        want=Want(plan=new, need=model.size_bytes, room=True), way="beside",
        told=PlanStatus(summary="off the GPU", source="measured"), why="it is said so",
        now=100.0, then=1.0, error=0.1,
    )  # fmt: skip


def test_layout_chosen_by_hand_stays_until_it_is_released(tmp_path: Path) -> None:
    async def run() -> None:
        machine = Machine(tmp_path)
        scheduler = machine.scheduler
        await scheduler.start()
        try:
            await machine.stories(lambda _: _nothing())
            pid = scheduler.state_of("starter").engine
            steps = [step async for step in machine.mover.move("starter", {"context": 4096})]
            assert isinstance(steps[-1], MoveResult)
            grown = scheduler.state_of("starter")
            assert grown.held
            assert grown.engine
            assert pid
            assert grown.engine.pid == pid.pid, "a longer context loads no weights"
            assert (steps[-1].how, steps[-1].load_seconds) == ("in place", 0.0)
            machine.grant(2)
            await machine.look(REST + LASTS)
            moved = scheduler.state_of("starter").moved
            assert moved
            assert moved.by == "owner"
            machine.mover.release("starter")
            await machine.look(REST + LASTS)
            moved = scheduler.state_of("starter").moved
            assert moved
            assert moved.by == ("node" if read_cpu().compute_cores > 1 else "owner")
        finally:
            await scheduler.stop(drain=False)

    asyncio.run(run())


def test_command_holds_and_releases(node: RunningNode) -> None:
    node.wait_ready()
    moved(node, "--plan", "batch_floor=0.06")
    assert node.model()["held"]
    assert node.model()["moved"]["by"] == "owner"
    done = move(node, "--release")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"model": "starter", "held": False}
    assert not node.model().get("held")
    refused = move(node, "--release", "--plan", "threads=1")
    assert refused.returncode == 2
    assert "stands alone" in refused.stderr
