"""Models that are laid out anew by themselves: when, when not, and never to and fro."""

import asyncio
import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.scheduler.test_easing import ENGINE, MODEL, Clock, in_a_loop

from ai_assistant.devices.worth_moving import LASTS, REST
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import EngineError
from ai_assistant.protocol.moves import How, MoveResult, MoveStep, Want
from ai_assistant.protocol.relayout import Proposal, Usage
from ai_assistant.protocol.status import (
    EngineStatus,
    ModelInfo,
    ModelStatus,
    MoveStatus,
    PlanStatus,
)
from ai_assistant.scheduler.easing import Loaded
from ai_assistant.scheduler.mover import Mover
from ai_assistant.scheduler.relayout import Relayout
from ai_assistant.scheduler.usage import Turn, Turns

PLAN = EnginePlan(model_path="/m.gguf", context_limit=1, cells=256, slots=4, retained=4, chunk=64,
                  threads=1, threads_batch=1)  # fmt: skip
BUSY = Usage(turns=0.5, prompt=1000, known=0, answer=200, streams=2)
TOLD = PlanStatus(summary="another", source="processor")
READY = ModelStatus(model=MODEL, state="ready", engine=ENGINE)


@dataclass
class House:
    """A model, those who move it, and what is proposed for it."""

    clock: Clock = field(default_factory=Clock)
    plan: EnginePlan = PLAN
    status: ModelStatus = READY
    asked: Usage | None = BUSY
    calm: bool = True
    quicker: float = 0.5
    """Time of a turn by whatever other plan, as a share of the present one's; above 1: slower."""
    fails: bool = False
    torn: bool = False
    """The machine cannot be read."""
    moving: set[str] = field(default_factory=set[str])
    moves: list[float] = field(default_factory=list[float])

    # The model's worker.

    def tell(self, told: PlanStatus) -> None: ...

    async def move(self, *_: object) -> MoveResult:
        raise NotImplementedError

    # The scheduler.

    def loaded(self) -> list[Loaded]:
        return [Loaded("m", self, 1, 0.0, default=True)]  # type: ignore[arg-type]

    def state_of(self, name: str) -> ModelStatus:
        return self.status

    def usage(self, name: str) -> Usage | None:
        return self.asked

    # The mover.

    async def take(self, name: str, want: Want, told: PlanStatus, why: str) -> MoveResult:
        self.moves.append(self.clock.now)
        moved = MoveStatus(at=1e9 + self.clock.now, by="node", why=why)
        if self.fails:
            self.status = structs.replace(self.status, moved=structs.replace(moved, error="no"))
            raise EngineError("It has no room.")
        self.plan = want.plan
        self.status = structs.replace(self.status, moved=moved)
        return MoveResult(model=name, how="in place", seconds=0.1, sequences=1)

    def propose(
        self, _model: ModelInfo, plan: EnginePlan, _engine: EngineStatus, _usage: Usage
    ) -> Proposal:
        """Whatever runs: the other one is said to be quicker."""
        if self.torn:
            raise OSError("no such file")
        other = structs.replace(plan, threads=3 - plan.threads)
        return Proposal(
            want=Want(plan=other, need=1, room=True), way="in place", told=TOLD,
            why="the other one", now=2.0, then=2.0 * self.quicker, error=0.1,
        )  # fmt: skip

    def watcher(self) -> Relayout:
        return Relayout(
            self, self, self.propose, calm=lambda: self.calm, clock=self.clock
        )  # fmt: skip

    async def look(self, watcher: Relayout, seconds: float, step: float = 10.0) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            await watcher.look()
            self.clock.now += step


@in_a_loop
async def test_a_gain_that_lasts_is_taken_and_told() -> None:
    house = House()
    await house.look(house.watcher(), REST)
    assert house.moves == [LASTS]
    assert house.plan.threads == 2
    assert house.status.moved
    assert "the other one" in house.status.moved.why
    assert "are won for" in house.status.moved.why


@in_a_loop
async def test_what_the_owner_chose_stays() -> None:
    house = House(status=structs.replace(READY, held=True))
    await house.look(house.watcher(), REST)
    assert not house.moves
    house.status = structs.replace(house.status, held=False)
    await house.look(house.watcher(), REST)
    assert house.moves == [REST + LASTS]


@in_a_loop
async def test_nothing_moves_while_something_else_goes_on() -> None:
    for busy in (
        House(calm=False),
        House(moving={"another"}),
        House(status=ModelStatus(model=MODEL, state="loading")),
        House(asked=None),
        House(quicker=0.95),
        House(asked=structs.replace(BUSY, turns=1e-6)),
        House(status=structs.replace(READY, plan=structs.replace(TOLD, measuring=0.1))),
    ):
        await busy.look(busy.watcher(), 2 * REST)
        assert not busy.moves


@in_a_loop
async def test_machine_that_cannot_be_read_is_left_alone() -> None:
    house = House(torn=True)
    await house.look(house.watcher(), REST)
    assert not house.moves


@in_a_loop
async def test_somebody_elses_move_is_followed_by_rest() -> None:
    house = House()
    watcher = house.watcher()
    house.status = structs.replace(
        house.status, moved=MoveStatus(at=5.0, by="node", why="memory was short")
    )
    await house.look(watcher, 2 * REST)
    assert len(house.moves) == 1
    assert house.moves[0] >= REST


@in_a_loop
async def test_failures_are_followed_by_ever_longer_rest() -> None:
    house = House(fails=True)
    await house.look(house.watcher(), 12 * REST)
    rests = [after - before for before, after in zip(house.moves, house.moves[1:], strict=False)]
    assert rests == [2 * REST, 4 * REST]
    assert house.plan == PLAN


times = st.tuples(
    st.floats(1, 200), st.floats(0.1, 2.0), st.booleans(), st.booleans(), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(times, max_size=40))
def test_whatever_is_said_it_never_flaps(
    said: list[tuple[float, float, bool, bool, bool]],
) -> None:
    """Even where every plan is said to be worse than the other one."""

    async def run() -> list[float]:
        house = House()
        watcher = house.watcher()
        for seconds, quicker, calm, held, fails in said:
            house.quicker, house.calm, house.fails = quicker, calm, fails
            house.status = structs.replace(house.status, held=held)
            before = len(house.moves)
            await house.look(watcher, seconds, 7.0)
            if held or not calm or quicker > 0.8:
                assert len(house.moves) == before
        return house.moves

    last = -math.inf
    for moment in asyncio.run(run()):
        assert moment - last >= REST
        last = moment


class Movable:
    """A worker that moves, or says why not."""

    def __init__(self) -> None:
        self.plan = PLAN
        self.fails = False
        self.told: PlanStatus | None = None

    async def move(self, plan: EnginePlan, _how: How, tell: object) -> MoveResult:
        tell(MoveStep(phase="handing over", progress=1.0))  # type: ignore[operator]
        if self.fails:
            raise EngineError("It has no room.")
        self.plan = plan
        return MoveResult(model="m", how="in place", seconds=0.1)

    def tell(self, told: PlanStatus) -> None:
        self.told = told


class Shelf:
    """The scheduler, as far as moves are concerned."""

    def __init__(self) -> None:
        self.worker = Movable()
        self.noted: list[MoveStatus] = []
        self.sizes: list[int] = []

    def lend(self, _name: str) -> "Lent":
        return Lent(self.worker)

    def resized(self, _name: str, need: int) -> None:
        self.sizes.append(need)

    def note_move(self, _name: str, moved: MoveStatus) -> None:
        self.noted.append(moved)

    def release(self, _name: str) -> None: ...


class Lent:
    def __init__(self, worker: Movable) -> None:
        self.worker = worker

    async def __aenter__(self) -> tuple[ModelInfo, Movable]:
        return MODEL, self.worker

    async def __aexit__(self, *_: object) -> None: ...


@in_a_loop
async def test_moves_are_told_with_who_wanted_them_and_why() -> None:
    shelf = Shelf()
    more = structs.replace(PLAN, threads=2)
    mover = Mover(shelf, lambda *_: Want(plan=more, need=7, room=True))  # type: ignore[arg-type]
    steps = [step async for step in mover.move("m", {"threads": 2})]
    assert isinstance(steps[-1], MoveResult)
    want = Want(plan=PLAN, need=5, room=True)
    await mover.take("m", want, TOLD, "fewer cores")
    shelf.worker.fails = True
    try:
        await mover.change("m", {"threads": 2}, "auto", "memory was short")
    except EngineError:
        pass
    else:
        raise AssertionError("it must fail")
    assert [(one.by, one.why, one.error) for one in shelf.noted] == [
        ("owner", "asked for", None),
        ("node", "fewer cores", None),
        ("node", "memory was short", "It has no room."),
    ]
    assert shelf.sizes == [7, 5]
    assert shelf.worker.told == TOLD
    assert not mover.moving


def test_usage_is_what_was_asked_lately() -> None:
    turns = Turns()
    assert turns.usage(100.0, 3) is None
    for second in range(10):
        turns.note(Turn(100.0 + second, 1000, 400, 200, 2))
    found = turns.usage(110.0, 4)
    assert found == Usage(turns=14 / 60, prompt=1000, known=400, answer=200, streams=4)
    later = turns.usage(109.0 + 250, 0)
    assert later
    assert later.turns < 0.05
    assert later.streams == 2
    assert turns.usage(109.0 + 301, 0) is None
