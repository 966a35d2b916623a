"""Tokens from this machine: one engine process for one model."""

import asyncio
import collections
import contextlib
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec import structs

from ai_assistant.engine.changes import Depth, depth
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import (
    AssistantError,
    EngineDied,
    ErrorInfo,
    ModelLoadFailed,
    ModelLoading,
    Overloaded,
    ShuttingDown,
    UnsupportedFeature,
    from_info,
)
from ai_assistant.protocol.frames import (
    Abort,
    Chunks,
    Ease,
    Embed,
    Embedded,
    EnginePlan,
    EngineReport,
    Failed,
    Generate,
    HandedOver,
    Limit,
    LoadFailed,
    Moved,
    Order,
    Progress,
    Ready,
    Report,
    Shutdown,
    StepSample,
    TakenOver,
    Tokenize,
    Tokenized,
)
from ai_assistant.protocol.moves import How, MoveResult, MoveStep
from ai_assistant.protocol.power import Restraint
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.status import (
    EngineStatus,
    ModelInfo,
    ModelState,
    ModelStatus,
    PlanStatus,
)
from ai_assistant.workers import moving
from ai_assistant.workers.engine_process import EngineProcess
from ai_assistant.workers.line import Line
from ai_assistant.workers.remote.continuing import continued

log = logging.getLogger(__name__)

ENGINE = (sys.executable, "-m", "ai_assistant.engine")
RESTART_WINDOW = 60.0
"""Seconds in which deaths are counted."""
FAILED_LOADS = 2
"""Deaths in a row while loading after which a model is given up."""
DRAIN_SECONDS = 60.0
"""How long a stop waits for running requests."""

NO_ROOM = re.compile("memory|alloc|buffer", re.IGNORECASE)
"""What the kernels' reasons have in common where a device has no room."""
Smaller = Callable[[EnginePlan, str], tuple[EnginePlan, PlanStatus] | None]
"""(what found no room, the reason) → what to try next; None: nothing is left to try."""
Learn = Callable[[EnginePlan, EngineStatus, Sequence[StepSample]], None]

Answer = TokenChunk | Embeddings | Tokenization | AssistantError


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
    ) -> None:
        """`told`: what is said of the plan; `smaller`: what to try where it finds no room;
        `learn` hears how long steps took."""
        self._command = command
        self._model = model
        self._plan = plan
        self._max_restarts = max_restarts
        self.told = told
        self._smaller = smaller
        self._learn = learn
        self._refused: ErrorInfo | None = None
        self._state: ModelState = "unloaded"
        self.name = model.id
        self.line = Line()
        self._moving: asyncio.Task[MoveResult] | None = None
        self._restraint = Restraint()
        self._eased_slots = 0
        self._serving: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Queue[Answer]] = {}
        self._settled = asyncio.Event()
        self._engine: EngineStatus | None = None
        self._error: AssistantError | None = None
        self._progress = 0.0
        self._started_at = 0.0
        self._deaths: collections.deque[float] = collections.deque()
        self._restarts = 0
        self._failed_loads = 0
        self._stopping = False
        self._complaints: collections.deque[str] = collections.deque(maxlen=30)

    # Life.

    async def start(self) -> None:
        """Begin to load, again after a failure; returns at once."""
        if self._serving and not self._serving.done():
            return
        self._stopping = False
        self._error = None
        self._failed_loads = 0
        self._settled.clear()
        self._enter("loading")
        self._serving = asyncio.create_task(self._serve())

    async def ready(self) -> None:
        """Return when requests are served; raise the reason if that cannot be."""
        await self._settled.wait()
        if self._state != "ready":
            raise self._error or ShuttingDown("The model is being unloaded; try again.")

    async def stop(self, *, drain: bool = True) -> None:
        """End the engine: with `drain` after the running requests are done, else now."""
        self._stopping = True
        if self._moving:
            self._moving.cancel()
            await asyncio.wait([self._moving])
        process, serving = self.line.process, self._serving
        if process and process.alive:
            # One that loads has nothing to drain and reads no orders.
            if drain and self._state == "ready":
                self.line.send(Shutdown(drain=True))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.ended(), DRAIN_SECONDS)
            process.kill()
        if serving:
            await asyncio.wait([serving])

    def status(self) -> ModelStatus:
        """The model and its engine, as they are now."""
        return ModelStatus(
            model=self._model,
            state=self._state,
            progress=self._progress,
            eta_seconds=self._eta(),
            error=self._error.message if self._error else None,
            engine=self._engine if self._state == "ready" else None,
            restarts=self._restarts,
            plan=self.told,
        )

    def _eta(self) -> float | None:
        if self._state != "loading" or self._progress <= 0:
            return None
        elapsed = time.monotonic() - self._started_at
        return elapsed * (1 - self._progress) / self._progress

    def _enter(self, state: ModelState) -> None:
        self._state = state
        if state == "loading":
            self._progress, self._started_at = 0.0, time.monotonic()

    @property
    def busy(self) -> bool:
        """Somebody waits for it."""
        return bool(self._answers) or self._state == "loading"

    @property
    def plan(self) -> EnginePlan:
        """What is loaded, or would be."""
        return self._plan

    def limit(self, restraint: Restraint) -> None:
        """The engine leaves this alone from now on, and each one after it."""
        if restraint != self._restraint:
            self._restraint = restraint
            self._pass_on_limit(always=True)

    def ease(self, warm_bytes: int, slots: int) -> None:
        """Memory is short: so much for the tier in RAM, and so many slots, from now on; 0 slots: as
        planned. An engine that starts again starts as planned."""
        self._eased_slots = slots
        if self.line.process and self._state == "ready" and not self._plan.embedding:
            self.line.process.send(Ease(warm_bytes))
            self._pass_on_limit(always=True)

    def _pass_on_limit(self, *, always: bool = False) -> None:
        """To an engine that listens; a new one knows no limits."""
        if (
            self.line.process
            and self._state == "ready"
            and (always or self._restraint != Restraint())
        ):
            both = [one for one in (self._restraint.slots, self._eased_slots) if one]
            slots = min(both, default=0)
            self.line.process.send(Limit(structs.replace(self._restraint, slots=slots)))

    # The engine process.

    async def _serve(self) -> None:
        """Run engines until one ends as it should or they die too often."""
        while True:
            died = await self._run_safely()
            if self._stopping or not died:
                break
            if self._shrinks(died):
                continue
            if self._error:
                break
            self._restarts += 1
            log.warning("engine of %s: %s", self._model.id, died.message)
            if self._gives_up():
                self._error = ModelLoadFailed(
                    f"The engine of {self._model.id} died {self._restarts} times and is not "
                    f"started again. Last reason: {died.message}"
                )
                break
            self._settled.clear()
            self._enter("loading")
            await asyncio.sleep(0.1 * 2 ** len(self._deaths))
            if self._stopping:
                break
        self._enter("failed" if self._error else "unloaded")
        self._settled.set()

    def _shrinks(self, died: EngineDied) -> bool:
        """Where the plan found no room: go on with a smaller one."""
        refused, self._refused = self._refused, None
        reason = refused.message if refused else f"{died.message} {' '.join(self._complaints)}"
        found = None
        if self._smaller and NO_ROOM.search(reason):
            found = self._smaller(self._plan, refused.message if refused else died.message)
        if found:
            self._plan, self.told = found
            log.warning("%s: %s", self._model.id, self.told.reasons[-1])
            self._failed_loads = 0
            self._settled.clear()
            self._enter("loading")
        elif refused:
            self._refuse(refused)
        return found is not None

    async def _run_safely(self) -> EngineDied | None:
        """The same as `_run_engine`, and an engine that could not even be started has died."""
        try:
            return await self._run_engine()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            if self.line.process:
                self.line.process.kill()
            self._complaints.append(f"it could not be run: {error}")
            return self._bury(1)

    async def _run_engine(self) -> EngineDied | None:
        """One process from start to end, or those that followed it in a move; the last one's death
        as an error if it was not asked for."""
        self._complaints.clear()
        engine = await EngineProcess.launch(self._model.id, self._command, self._plan, self.hear)
        engine.complaints = self._complaints
        self.line.process = engine
        if self._stopping:
            engine.kill()
        while True:
            code = await engine.ended()
            heir = await engine.heir if engine.heir else None
            if heir is None:
                return self._bury(code)
            engine = heir

    def _bury(self, code: int) -> EngineDied | None:
        """The process is gone: whoever waits is told."""
        reason = self._error
        if reason is None and (self._stopping or not code):
            reason = ShuttingDown("The model was unloaded; ask again to load it.")
        died = None
        if reason is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            detail = f" ({self._complaints[-1]})" if self._complaints else ""
            died = EngineDied(f"The engine {how}{detail}.", retry_after=2)
            self._deaths.append(time.monotonic())
            self._failed_loads += self._state != "ready"
        for answers in self._answers.values():
            answers.put_nowait(reason or died or EngineDied("The engine ended."))
        self._engine = None
        return died

    def _gives_up(self) -> bool:
        """Too many deaths in a minute, or again and again while loading, however long it takes."""
        while time.monotonic() - self._deaths[0] > RESTART_WINDOW:
            self._deaths.popleft()
        return len(self._deaths) > self._max_restarts or self._failed_loads > FAILED_LOADS

    def hear(self, report: EngineReport) -> None:
        """What the engine says."""
        match report:
            case Chunks(chunks):
                self.line.note_words()
                for request_id, chunk in chunks:
                    self._answer(request_id, chunk)
            case Embedded(request_id, embeddings):
                self._answer(request_id, embeddings)
            case Tokenized(request_id, tokenization):
                self._answer(request_id, tokenization)
            case Failed(request_id, error):
                self._answer(request_id, from_info(error))
            case Report(status, steps):
                self._engine = status
                if steps and self._learn:
                    self._learn(self._plan, status, steps)
            case Progress(fraction):
                self._progress = fraction
            case Ready(status):
                self._engine = status
                self._failed_loads = 0
                self._enter("ready")
                self._eased_slots = 0  # it started as planned
                self._pass_on_limit()
                self._settled.set()
            case Moved() | HandedOver():
                self.line.note_silence()
            case TakenOver():
                pass  # whoever asked hears it
            case LoadFailed(error):
                if self._smaller:
                    self._refused = error
                else:
                    self._refuse(error)

    def _refuse(self, error: ErrorInfo) -> None:
        self._error = from_info(error)
        self._enter("failed")
        self._settled.set()

    def _answer(self, request_id: str, answer: Answer) -> None:
        # Nobody waits any more for what was aborted a moment ago.
        if answers := self._answers.get(request_id):
            answers.put_nowait(answer)

    # Moving: see `moving.py`, to which these belong.

    async def move(
        self, plan: EnginePlan, how: How, tell: Callable[[MoveStep], None]
    ) -> MoveResult:
        """Go on with another plan; the streams pause and go on where they were.

        `how` is asked only where weights are laid out anew; `auto` means beside. Raises
        `AssistantError`, and then the old plan is still in use.
        """
        if self._state != "ready" or self.line.process is None:
            raise ModelLoading(f"{self.name} is not loaded: nothing runs that could be moved.")
        if self._moving:
            raise Overloaded(f"{self.name} is being moved already.", retry_after=5)
        if plan.embedding or self._plan.embedding:
            raise UnsupportedFeature("A model that gives vectors has no streams to move.")
        self._moving = asyncio.create_task(self._move(plan, how, tell))
        self._moving.add_done_callback(self._moved)
        try:
            return await asyncio.shield(self._moving)
        except asyncio.CancelledError:
            if self._stopping:
                raise ShuttingDown("The model is being unloaded.") from None
            raise

    def _moved(self, _: "asyncio.Task[MoveResult]") -> None:
        self._moving = None

    async def _move(
        self, plan: EnginePlan, how: How, tell: Callable[[MoveStep], None]
    ) -> MoveResult:
        if depth(self._plan, plan) < Depth.WEIGHTS:
            tell(MoveStep(phase="handing over", progress=1.0))
            return await moving.in_place(self, plan)
        if how == "instead":
            return await moving.instead(self, plan, tell)
        return await moving.beside(self, plan, tell)

    async def launch(self, plan: EnginePlan) -> EngineProcess:
        """Another engine; raises `ModelLoadFailed`."""
        try:
            return await EngineProcess.launch(self._model.id, self._command, plan, _nobody)
        except OSError as error:
            raise ModelLoadFailed(f"No second engine could be started: {error}") from error

    def succeed(self, process: EngineProcess, ready: Ready) -> None:
        """This is the engine from now on."""
        self.line.process, self._engine = process, ready.status
        self._complaints = process.complaints
        self._pass_on_limit()
        self.adopt(process.plan)

    def adopt(self, plan: EnginePlan) -> None:
        """The engine goes by this plan from now on, also when it has to be started again."""
        if plan != self._plan:
            self.told = PlanStatus(summary=_summary(plan), source="settings", reasons=(_BY_HAND,))
        self._plan = plan

    def fail(self, error: AssistantError) -> None:
        """No engine is left."""
        self._refuse(error.info())

    # Requests.

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The request's pieces; closing the iterator frees its slot in the engine.

        A partial answer whose tokens are known is continued exactly, else by the model's template:
        then the text is exact and its tokens are read anew.
        """
        if request.partial is not None and not _exact(request):
            request = structs.replace(continued(request, "template"), partial=None)
        answers = self._open(request.request_id, Generate(request))
        done = False
        try:
            while not done:
                answer = await answers.get()
                done = isinstance(answer, AssistantError) or (
                    isinstance(answer, TokenChunk) and answer.usage is not None
                )
                if isinstance(answer, AssistantError):
                    raise answer
                if isinstance(answer, TokenChunk):
                    yield answer
        finally:
            self._close(request.request_id, done)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The request's vectors; cancelling the call cancels the work."""
        answer = await self._ask(request.request_id, Embed(request))
        if isinstance(answer, Embeddings):
            return answer
        raise answer if isinstance(answer, AssistantError) else EngineDied("A wrong answer came.")

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """How the engine reads a prompt."""
        answer = await self._ask(request.request_id, Tokenize(request))
        if isinstance(answer, Tokenization):
            return answer
        raise answer if isinstance(answer, AssistantError) else EngineDied("A wrong answer came.")

    async def _ask(self, request_id: str, order: Order) -> Answer:
        """The only answer to an order; cancelling the call aborts it."""
        answers = self._open(request_id, order)
        done = False
        try:
            answer = await answers.get()
            done = True
        finally:
            self._close(request_id, done)
        return answer

    def _open(self, request_id: str, order: Order) -> asyncio.Queue[Answer]:
        if self._state != "ready":
            raise self._error or EngineDied("The engine is starting again.", retry_after=2)
        answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._answers[request_id] = answers
        self.line.send(order)
        return answers

    def _close(self, request_id: str, done: bool) -> None:
        del self._answers[request_id]
        if not done:
            self.line.send(Abort(request_id))


_BY_HAND = "It was moved while it was in use; the next load plans anew."


def _summary(plan: EnginePlan) -> str:
    layers = "all layers where a GPU is" if plan.gpu_layers < 0 else f"{plan.gpu_layers} GPU layers"
    return f"{layers}, {plan.threads} threads, context {plan.context_limit}, {plan.kv_type} cache"


def _exact(request: GenerateRequest) -> bool:
    """Whether the engine can go on behind the very token."""
    partial = request.partial
    return bool(
        partial and partial.tokens and len(partial.tokens) == partial.generated and request.n == 1
    )


def _nobody(_: EngineReport) -> None:
    """Nobody listens yet."""
