"""A model at a provider: the same interface as the engine on this machine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping

import msgspec

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import (
    AssistantError,
    FirstTokenTimeout,
    ShuttingDown,
    UnsupportedFeature,
)
from ai_assistant.protocol.offers import Offer, WorkerFacts
from ai_assistant.protocol.requests import (
    EmbedRequest,
    GenerateRequest,
    TokenizeRequest,
)
from ai_assistant.protocol.status import EngineStatus, ModelInfo, ModelStatus
from ai_assistant.workers.remote.answer import is_events, is_object, pieces_of, wrong_type
from ai_assistant.workers.remote.blocks import Link, NodeBlocks
from ai_assistant.workers.remote.closing import Closing
from ai_assistant.workers.remote.continuing import Joint
from ai_assistant.workers.remote.dialect import Reader
from ai_assistant.workers.remote.dialects import dialect_of
from ai_assistant.workers.remote.kinds import Target
from ai_assistant.workers.remote.peer import CALL, Seen, read_node
from ai_assistant.workers.remote.record import Record
from ai_assistant.workers.remote.told import Told
from ai_assistant.workers.remote.transport import Call
from ai_assistant.workers.remote.upstream import Upstream, Visit
from ai_assistant.workers.remote.vectors import vectors_of

_WANTED_SECONDS = 10.0
"""How long it is remembered that somebody asked for facts."""
_LOOK_SECONDS = 2.0
_EPOCH = time.time() - time.monotonic()


def clock() -> float:
    """Seconds since 1970 when the process began, and forward only from there."""
    return _EPOCH + time.monotonic()


class RemoteWorker:
    """`protocol.worker.RemoteSource` over HTTP. The upstream belongs to whoever made it."""

    def __init__(self, offer: Offer, target: Target, upstream: Upstream, record: Record) -> None:
        self._offer = offer
        self._target = target
        self._upstream = upstream
        self._record = record
        self._dialect = dialect_of(target.kind)
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._seen: Seen | None = None
        self._wanted = float("-inf")
        self._link = Link()

    # Life: there is nothing to load.

    @property
    def offer(self) -> Offer:
        """What it offers."""
        return self._offer

    def facts(self) -> WorkerFacts:
        """What its traffic showed, and its node told."""
        self._wanted = now = clock()
        facts, engine = self._record.facts(now), self._engine(now)
        if engine is None:
            return facts
        waiting = engine.waiting + engine.parked
        return msgspec.structs.replace(
            facts, running=engine.running, waiting=waiting, slots=engine.slots
        )

    def _engine(self, now: float) -> EngineStatus | None:
        return self._seen.engine if self._seen and self._seen.is_fresh(now) else None

    def is_wanted(self) -> bool:
        """Somebody asked for its facts lately."""
        return clock() - self._wanted <= _WANTED_SECONDS

    async def look(self, request_id: str) -> dict[str, Seen]:
        """What its node says of all its models, by their names there; raises `AssistantError`."""
        until = asyncio.get_running_loop().time() + _LOOK_SECONDS
        body = await self._whole(CALL, request_id, until)
        return read_node(self._offer.provider, body, clock())

    def note_seen(self, seen: Mapping[str, Seen]) -> None:
        """Its node told this."""
        self._seen = seen.get(self._target.model)

    def status(self) -> ModelStatus:
        """The model as its node tells it, else as one that is always loaded; a refused key is
        a failure."""
        now = clock()
        refused = self._record.facts(now).state == "refused"
        status = ModelStatus(
            model=_model_info(self._offer),
            state="unloaded" if self._stopping else "failed" if refused else "ready",
            error=f"{self._offer.provider} does not accept the key." if refused else None,
        )
        known = not (refused or self._stopping) and self._seen
        return known.over(status) if known and known.is_fresh(now) else status

    async def start(self) -> None:
        """Take requests."""
        self._stopping = False

    async def ready(self) -> None:
        """It is."""

    async def stop(self, *, drain: bool = True) -> None:
        """Take nothing new; with `drain` wait for what runs. Who iterates may close the rest."""
        self._stopping = True
        if drain:
            await self._idle.wait()

    # Requests.

    def refusal(self, request: GenerateRequest) -> str | None:
        """Why it cannot do this; None: it can, as far as is known."""
        try:
            self._dialect.call(request, self._target)
        except AssistantError as error:
            return error.message
        return None

    def thinking(self, request: GenerateRequest) -> int:
        """Tokens that an answer may take beyond `max_tokens`, and that are paid for."""
        return self._dialect.thinking(request)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        """The answer's pieces; closing the iterator ends the HTTP stream at once.

        An error's `reached` says how much was yielded before.
        """
        if self._stopping:
            raise ShuttingDown("This worker takes nothing new; try again.")
        call = self._dialect.call(request, self._target)
        told = Told()
        async with self._at_work():
            # The clock of the first token starts when the request has its place.
            until = asyncio.get_running_loop().time() + self._upstream.deadlines.first_token
            began = clock()
            self._record.begin(began)
            try:
                visit = await self._upstream.open(
                    call, model=self._target.model, request_id=request.request_id,
                    tenant=request.tenant, until=until,
                )  # fmt: skip
                answer = self._answer(request, visit, until)
                async with contextlib.aclosing(answer):
                    async for chunk in answer:
                        told.note(chunk, clock())
                        if told.pieces == 1:
                            self._record.first_token(told.first - began, told.first)
                        yield chunk if chunk.usage is None else told.timed(chunk, began)
            except BaseException as error:
                if isinstance(error, AssistantError):
                    error.reached = told.reached()
                self._record.fail(error, clock())
                raise
            self._record.succeed(told.seconds_per_token(), clock())

    async def _answer(
        self, request: GenerateRequest, visit: Visit, until: float
    ) -> AsyncGenerator[TokenChunk, None]:
        closing = Closing(self._offer.provider, request)
        reader = self._dialect.reader(request, self._target, closing)
        joint = Joint(request.partial, self._target.continues)
        error: BaseException | None = None
        try:
            async with contextlib.aclosing(self._read(visit, reader, until)) as found:
                async for pieces in found:
                    closing.tokens += len(pieces)
                    for chunk in pieces:
                        if not joint.open:
                            yield chunk
                        else:
                            for part in _joined(joint, chunk):
                                yield part
        except BaseException as caught:
            error = caught
            if isinstance(caught, AssistantError):
                self._upstream.without_key(caught)
            raise
        finally:
            # A server that did not say that this was all may still say something.
            await visit.end(error, keep=reader.ended)

    async def _read(
        self, visit: Visit, reader: Reader, until: float
    ) -> AsyncGenerator[list[TokenChunk], None]:
        provider = self._offer.provider
        if is_object(visit):
            async with _in_time(provider, until):
                body = await visit.read_whole()
            yield reader.read_whole(body)
            yield reader.close()
        elif not is_events(visit):
            raise wrong_type(provider, visit)
        else:
            deadlines = self._upstream.deadlines
            pieces = pieces_of(
                visit, reader, provider=provider, deadlines=deadlines, first_until=until
            )
            async with contextlib.aclosing(pieces):
                async for found in pieces:
                    yield found

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """The vectors, made unit length."""
        if self._stopping:
            raise ShuttingDown("This worker takes nothing new; try again.")
        call = self._dialect.embed(request, self._target)
        async with self._at_work():
            until = asyncio.get_running_loop().time() + self._upstream.deadlines.first_token
            self._record.begin(clock())
            try:
                body = await self._whole(call, request.request_id, until)
                embeddings = vectors_of(self._offer.provider, body, request)
            except BaseException as error:
                self._record.fail(error, clock())
                raise
            self._record.succeed(None, clock())
            return embeddings

    async def _whole(self, call: Call, request_id: str, until: float) -> bytes:
        visit = await self._upstream.open(
            call, model=self._target.model, request_id=request_id, tenant="", until=until
        )
        async with visit.reading(), _in_time(self._offer.provider, until):
            return await visit.read_whole()

    def blocks(self, model: str, request_id: str, tenant: str) -> NodeBlocks:
        """KV blocks of its node. Which model and whose they are, it says itself."""
        return NodeBlocks(self._target, self._upstream, self._link, request_id)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """Providers do not say how their models read."""
        raise UnsupportedFeature(f"{self._offer.provider} does not show how its models read text.")

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncGenerator[None, None]:
        await self._upstream.take_place()
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._upstream.free_place()
            self._running -= 1
            if not self._running:
                self._idle.set()


def _joined(joint: Joint, chunk: TokenChunk) -> list[TokenChunk]:
    """A piece without what the reader has already; nothing if nothing is left."""
    if chunk.finish is not None:
        rest = joint.rest()
        return [TokenChunk(index=chunk.index, text=rest), chunk] if rest else [chunk]
    if not chunk.text:
        return [chunk]
    text = joint.pass_on(chunk.text)
    if text == chunk.text:
        return [chunk]
    chunk = msgspec.structs.replace(chunk, text=text, logprobs=())
    return [chunk] if text or chunk.reasoning or chunk.tool_calls else []


@contextlib.asynccontextmanager
async def _in_time(provider: str, until: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError:
        raise FirstTokenTimeout(f"{provider} did not finish its answer in time.") from None


def _model_info(offer: Offer) -> ModelInfo:
    return ModelInfo(
        id=offer.names[0],
        name=f"{offer.model} at {offer.provider}",
        path="",
        size_bytes=0,
        architecture=offer.kind,
        quantisation="",
        parameters=0,
        context_train=offer.context or 0,
        embedding=offer.abilities == frozenset({"embeddings"}),
    )
