"""The loop of a model that gives vectors: each input is read as a whole."""

import contextlib
import os
import queue
import time
from array import array

import msgspec
import numpy as np
import psutil

from ai_assistant.engine.channel import Aborted, Asked, Orders, Reports, too_many_wait
from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.pairs import pair_tokens
from ai_assistant.engine.reading import read
from ai_assistant.engine.statistics import Statistics
from ai_assistant.protocol.chunks import Embeddings
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import (
    AssistantError,
    ContextLengthExceeded,
    EngineError,
    InvalidRequest,
    UnsupportedFeature,
)
from ai_assistant.protocol.frames import (
    Abort,
    Embedded,
    Failed,
    Generate,
    Limit,
    Report,
    Shutdown,
    Tokenize,
    Tokenized,
)
from ai_assistant.protocol.power import Restraint
from ai_assistant.protocol.requests import TextPrompt, TokenPrompt
from ai_assistant.protocol.status import EngineStatus


class EmbedJob(msgspec.Struct):
    """The tokens of one request's inputs, and the vectors of those that are done."""

    request_id: str
    inputs: list["array[int]"]
    vectors: list[bytes] = []


class EmbedIntake:
    """Prepares requests for vectors."""

    def __init__(self, model: Model, limit: int, *, ranks: bool) -> None:
        """`ranks`: the model scores pairs of texts."""
        self._model = model
        self._vocabulary = model.vocabulary
        self._limit = limit
        self._ranks = ranks

    def prepare(self, order: Asked) -> EmbedJob | Tokenized | Failed:
        """The request's tokens, or the reason why there are none."""
        try:
            if isinstance(order, Generate):
                raise UnsupportedFeature(
                    "This model gives embeddings and writes no text: ask a chat model."
                )
            if isinstance(order, Tokenize):
                return Tokenized(order.request.request_id, read(order.request, self._vocabulary))
            self._check_kind(order.request.query)
            inputs = [self._tokens(entry, order.request.query) for entry in order.request.inputs]
            return EmbedJob(order.request.request_id, inputs)
        except AssistantError as error:
            return Failed(order.request.request_id, error.info())
        except Exception as error:  # noqa: BLE001 - a request must never end in silence
            info = InvalidRequest(f"The request could not be prepared: {error}").info()
            return Failed(order.request.request_id, info)

    def _check_kind(self, query: str | None) -> None:
        if self._ranks and query is None:
            raise UnsupportedFeature(
                "This model scores documents for a query and gives no embeddings: use /v1/rerank."
            )
        if query is not None and not self._ranks:
            raise UnsupportedFeature(
                "This model gives embeddings and no relevance scores: ask a reranking model."
            )

    def _tokens(self, entry: TextPrompt | TokenPrompt, query: str | None) -> "array[int]":
        if isinstance(entry, TextPrompt) and query is not None:
            tokens = pair_tokens(self._model, query, entry.text)
        elif isinstance(entry, TextPrompt):
            tokens = array(
                "i",
                self._vocabulary.tokenize(entry.text, add_special=True, parse_special=False),
            )
        else:
            tokens = array("i", entry.tokens)
        if not tokens or not all(0 <= token < self._vocabulary.size for token in tokens):
            raise InvalidRequest("An input is empty or has unknown tokens.", param="input")
        if len(tokens) > self._limit:
            raise ContextLengthExceeded(
                f"An input has {len(tokens)} tokens; this model reads {self._limit} at once.",
                param="input",
            )
        return tokens


class Embedder:
    """One embedding model. `run` returns when the node wants it to end."""

    def __init__(self, plan: EnginePlan, model: Model, orders: Orders, reports: Reports) -> None:
        self._plan = plan
        self._orders = orders
        self._reports = reports
        self._context = Context(
            model,
            cells=plan.chunk,
            sequences=plan.slots,
            chunk=plan.chunk,
            outputs=plan.slots,
            threads=plan.threads_batch,
            threads_batch=plan.threads_batch,
            embedding=True,
        )
        if not self._context.pools:
            raise UnsupportedFeature("The file does not say how its vectors are pooled.")
        self._dimensions = 1 if self._context.ranks else model.dimensions
        self._statistics = Statistics()
        self._waiting: list[EmbedJob] = []
        self._threads = plan.threads_batch
        self._aborted = Aborted()
        self._draining = False

    def run(self) -> None:
        """Work until a shutdown order."""
        while not (self._draining and self._idle):
            self._accept()
            if self._waiting:
                self._advance(self._waiting[0])
                self._reports.send(Report(self.status()))

    @property
    def ranks(self) -> bool:
        """Whether the model scores pairs of texts."""
        return self._context.ranks

    @property
    def _idle(self) -> bool:
        return self._orders.all_prepared and not self._waiting

    def _accept(self) -> None:
        if not self._waiting:
            with contextlib.suppress(queue.Empty):
                timeout = 0.1 if self._draining else None
                self._take(self._orders.arrivals.get(timeout=timeout))
        while not self._orders.arrivals.empty():
            self._take(self._orders.arrivals.get())

    def _take(self, arrival: object) -> None:
        match arrival:
            case EmbedJob():
                self._enqueue(arrival)
            case Failed() | Tokenized():
                self._reports.send(arrival)
            case Abort(request_id):
                self._abort(request_id)
            case Shutdown(drain):
                if not drain:
                    os._exit(0)
                self._draining = True
            case Limit(restraint):
                self._limit(restraint)
            case _:
                raise TypeError(f"not an arrival: {arrival!r}")

    def _limit(self, restraint: Restraint) -> None:
        """Of an input at a time, threads are all that can be left alone."""
        most = self._plan.threads_batch
        self._threads = min(restraint.threads or most, most)
        self._context.set_threads(self._threads, self._threads)

    def _enqueue(self, job: EmbedJob) -> None:
        if self._aborted.take(job.request_id):
            return
        if len(self._waiting) >= self._plan.queue:
            self._reports.send(Failed(job.request_id, too_many_wait(len(self._waiting)).info()))
            return
        self._waiting.append(job)

    def _abort(self, request_id: str) -> None:
        left = [job for job in self._waiting if job.request_id != request_id]
        if len(left) == len(self._waiting):
            self._aborted.add(request_id)
        self._waiting = left

    def _advance(self, job: EmbedJob) -> None:
        """Compute the job's next group of inputs; answer when all are done."""
        try:
            group = self._next_group(job.inputs[len(job.vectors) :])
            job.vectors += [vector.tobytes() for vector in self._compute(group)]
        except Exception as error:  # noqa: BLE001 - the client hears of it
            self._waiting.remove(job)
            info = EngineError(f"The kernels failed on this request: {error}").info()
            self._reports.send(Failed(job.request_id, info))
            return
        if len(job.vectors) == len(job.inputs):
            self._waiting.remove(job)
            embeddings = Embeddings(
                vectors=tuple(job.vectors),
                dimensions=self._dimensions,
                prompt_tokens=sum(len(entry) for entry in job.inputs),
            )
            self._reports.send(Embedded(job.request_id, embeddings))

    def _next_group(self, inputs: list["array[int]"]) -> list["array[int]"]:
        """The first inputs that fit into one call together."""
        total = 0
        for count, entry in enumerate(inputs):
            total += len(entry)
            if total > self._plan.chunk or count == self._context.sequences:
                return inputs[:count]
        return inputs

    def _compute(self, group: list["array[int]"]) -> list[np.ndarray]:
        """Unit vectors of a group that fits into one call."""
        begun = time.perf_counter()
        batch = self._context.batch
        batch.clear()
        for sequence, tokens in enumerate(group):
            batch.add(sequence, 0, tokens, True)
        batch.want_all()
        self._context.clear()
        self._context.decode(batch)
        pooled = [self._context.pooled(sequence) for sequence in range(len(group))]
        self._statistics.prompt_tokens += batch.size
        self._statistics.step(
            prompt=batch.size, generated=0, kernels=time.perf_counter() - begun, outside=0
        )
        if self._context.ranks:
            return [vector[:1] for vector in pooled]
        return [(vector / max(float(np.linalg.norm(vector)), 1e-12)) for vector in pooled]

    def status(self) -> EngineStatus:
        """The engine as it is now."""
        return EngineStatus(
            pid=os.getpid(),
            slots=self._context.sequences,
            running=0,
            waiting=len(self._waiting),
            parked=0,
            context_limit=self._plan.chunk,
            cells_total=0,
            cells_used=0,
            cells_retained=0,
            prompt_tokens=self._statistics.prompt_tokens,
            cached_tokens=0,
            generated_tokens=0,
            prefill_tokens_per_second=self._statistics.prefill.per_second,
            decode_tokens_per_second=0.0,
            steps=self._statistics.steps,
            decode_ms_mean=0.0,
            python_ms_mean=0.0,
            memory_bytes=psutil.Process().memory_info().rss,
            threads=self._threads,
        )

    def warm_up(self) -> None:
        """Touch the weights, so that the first answer is quick."""
        self._compute([array("i", [1])])
