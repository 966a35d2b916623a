"""Tokens from this machine: one engine process for one model."""

import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from msgspec import structs

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import (
    AssistantError,
    CannotContinue,
    ModelLoadFailed,
    ModelLoading,
)
from ai_assistant.protocol.frames import (
    BlocksSaid,
    Chunks,
    Embed,
    Embedded,
    EngineReport,
    Failed,
    Generate,
    HandedOver,
    LoadFailed,
    Moved,
    Progress,
    Ready,
    Report,
    StepSample,
    TakenOver,
    Tokenize,
    Tokenized,
)
from ai_assistant.protocol.moves import How, Left, MoveResult, MoveStep
from ai_assistant.protocol.power import Restraint
from ai_assistant.protocol.requests import (
    EmbedRequest,
    GenerateRequest,
    Partial,
    TokenizeRequest,
)
from ai_assistant.protocol.status import EngineStatus, ModelInfo, ModelStatus, PlanStatus
from ai_assistant.workers.answers import Answers
from ai_assistant.workers.engine_process import EngineProcess
from ai_assistant.workers.leaving import Leaving, left
from ai_assistant.workers.lifecycle import Lifecycle
from ai_assistant.workers.limits import Limits
from ai_assistant.workers.line import Line
from ai_assistant.workers.local_blocks import LocalBlocks
from ai_assistant.workers.one_move import OneMove
from ai_assistant.workers.plan_in_use import PlanInUse, Smaller
from ai_assistant.workers.remote.continuing import continued
from ai_assistant.workers.supervisor import Supervisor

ENGINE = (sys.executable, "-m", "ai_assistant.engine")
Learn = Callable[[EnginePlan, EngineStatus, Sequence[StepSample]], None]


class LocalWorker:
    """An engine process and its life: load, serve, die, come back."""

    def __init__(
        self,
        model: ModelInfo,
        plan: EnginePlan,
        *,
        max_restarts: int = 5,
        command: Sequence[str] = ENGINE,
        told: PlanStatus | None = None,
        smaller: Smaller | None = None,
        learn: Learn | None = None,
        with_blocks: bool = True,
    ) -> None:
        """`told`: what is said of the plan; `smaller`: what to try where it finds no room;
        `learn` hears how long steps took. `with_blocks`: answers that leave offer KV blocks."""
        self._model = model
        self.name = model.id
        self.line = Line()
        self._learn = learn
        self._moves = OneMove(self)
        self._lifecycle = Lifecycle()
        self._in_use = PlanInUse(plan, told, smaller)
        self._limits = Limits(self.line, self._lifecycle)
        self._answers = Answers(self.line, self._lifecycle)
        self._leaving = Leaving(self._answers.put, with_blocks=with_blocks)
        self.kv_blocks = LocalBlocks(self._answers, self._leaving, self._in_use)
        """The KV blocks of its answers, for other nodes."""
        self._supervisor = Supervisor(
            model.id,
            command,
            max_restarts=max_restarts,
            plan=self._in_use,
            line=self.line,
            lifecycle=self._lifecycle,
            answers=self._answers,
            hear=self.hear,
        )

    # Life.

    async def start(self) -> None:
        """Begin to load, again after a failure; returns at once."""
        self._supervisor.start()

    async def ready(self) -> None:
        """Return when requests are served; raise the reason if that cannot be."""
        await self._lifecycle.settled()

    async def stop(self, *, drain: bool = True) -> None:
        """End the engine: with `drain` after the running requests are done, else now."""
        self._supervisor.stopping = True
        await self._moves.cancel()
        await self._supervisor.stop(drain=drain)

    def status(self) -> ModelStatus:
        """The model and its engine, as they are now."""
        now = self._lifecycle
        return ModelStatus(
            model=self._model,
            state=now.state,
            progress=now.progress,
            eta_seconds=now.eta(),
            error=now.error.message if now.error else None,
            engine=now.engine if now.ready else None,
            restarts=self._supervisor.restarts,
            plan=self._in_use.told,
        )

    @property
    def busy(self) -> bool:
        """Somebody waits for it."""
        return self._answers.wanted or self._lifecycle.state == "loading"

    @property
    def plan(self) -> EnginePlan:
        """What is loaded, or would be."""
        return self._in_use.plan

    @property
    def told(self) -> PlanStatus | None:
        """What is said of the plan."""
        return self._in_use.told

    def tell(self, told: PlanStatus) -> None:
        """Say this of the plan from now on."""
        self._in_use.told = told

    def limit(self, restraint: Restraint) -> None:
        """The engine leaves this alone from now on, and each one after it."""
        self._limits.restrain(restraint)

    def ease(self, warm_bytes: int, slots: int) -> None:
        """Memory is short: so much for the tier in RAM, and so many slots, from now on; 0 slots: as
        planned. An engine that starts again starts as planned."""
        if not self.plan.embedding:
            self._limits.ease(warm_bytes, slots)

    def hear(self, report: EngineReport) -> None:
        """What the engine says."""
        match report:
            case Chunks() | Embedded() | Tokenized() | BlocksSaid() | Failed():
                self._answers.hear(report)
            case Report(status, steps):
                self._lifecycle.engine = status
                if steps and self._learn:
                    self._learn(self.plan, status, steps)
            case Progress(fraction):
                self._lifecycle.progress = fraction
            case Ready(status):
                self._supervisor.note_loaded()
                self._lifecycle.become_ready(status)
                self._limits.begin_anew()
            case Moved() | HandedOver():
                self.line.note_silence()
            case TakenOver():
                pass  # whoever asked hears it
            case LoadFailed(error):
                self._supervisor.note_refusal(error)

    # Moving: `one_move.py` and `moving.py` call what follows `move`.

    async def move(
        self, plan: EnginePlan, how: How, tell: Callable[[MoveStep], None]
    ) -> MoveResult:
        """Go on with another plan; the streams pause and go on where they were.

        `how` is asked only where weights are laid out anew; `auto` means beside. Raises
        `AssistantError`, and then the old plan is still in use.
        """
        if not self._lifecycle.ready or self.line.process is None:
            raise ModelLoading(f"{self.name} is not loaded: nothing runs that could be moved.")
        return await self._moves.make(plan, how, tell)

    async def launch(self, plan: EnginePlan) -> EngineProcess:
        """Another engine; raises `ModelLoadFailed`."""
        try:
            return await self._supervisor.launch(plan, _nobody)
        except OSError as error:
            raise ModelLoadFailed(f"No second engine could be started: {error}") from error

    def succeed(self, process: EngineProcess, ready: Ready) -> None:
        """This is the engine from now on."""
        self._supervisor.follow(process)
        self._lifecycle.engine = ready.status
        self._limits.pass_on()
        self.adopt(process.plan)

    def adopt(self, plan: EnginePlan) -> None:
        """The engine goes by this plan from now on, also when it has to be started again."""
        self._in_use.adopt(plan)

    def fail(self, error: AssistantError) -> None:
        """No engine is left."""
        self._lifecycle.fail(error)

    # Requests.

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The request's pieces; closing the iterator frees its slot in the engine.

        A partial answer whose tokens are known is continued exactly, else by the model's template:
        then the text is exact and its tokens are read anew.
        """
        if request.partial is None:
            pieces = self._answers.stream(request.request_id, Generate(request))
        else:
            pieces = self._continued(request, request.partial)
        return self._leaving.watched(request, pieces) if request.spell else pieces

    async def _continued(
        self, request: GenerateRequest, partial: Partial
    ) -> AsyncGenerator[TokenChunk, None]:
        name = request.request_id
        begun = False
        if _tokens_known(request, partial):
            pieces = self._answers.stream(name, Generate(request))
            try:
                async with contextlib.aclosing(pieces):
                    async for chunk in pieces:
                        begun = True
                        yield chunk
                return
            except CannotContinue:  # another model began it
                if begun:
                    raise
        request = structs.replace(continued(request, "template"), partial=None)
        pieces = self._answers.stream(name, Generate(request))
        async with contextlib.aclosing(pieces):
            async for chunk in pieces:
                yield chunk

    # Leaving.

    def hand_on(self, to: str = "") -> None:
        """Offer what runs to the node of that name, empty: to any that answers to the same name.
        What nobody takes goes on here."""
        self._leaving.offer(to)

    async def leave(self, to: str) -> Left:
        """The same; how it went."""
        running = self._answers.count
        offered = self._leaving.offer(to)
        return await left(offered, running - len(offered))

    def stays(self, request_id: str) -> None:
        """Nobody takes this one."""
        self._leaving.stays(request_id)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The request's vectors; cancelling the call cancels the work."""
        return await self._answers.single(request.request_id, Embed(request), Embeddings)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """How the engine reads a prompt."""
        return await self._answers.single(request.request_id, Tokenize(request), Tokenization)


def _tokens_known(request: GenerateRequest, partial: Partial) -> bool:
    """Whether the engine may be able to go on behind the very token."""
    count = len(partial.spelled.cuts) if partial.spelled else len(partial.tokens)
    return 0 < count == partial.generated and request.n == 1


def _nobody(_: EngineReport) -> None:
    """Nobody listens yet."""
