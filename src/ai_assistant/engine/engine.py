"""The engine's loop: accept what arrived, next batch, decode, commit tokens and send."""

import contextlib
import os
import queue
import time
from array import array

import psutil

from ai_assistant.engine.batcher import Batcher, Limits, Part
from ai_assistant.engine.channel import Aborted, Orders, Reports, too_many_wait
from ai_assistant.engine.kernels import Context, Model, NoRoom
from ai_assistant.engine.outbox import Outbox
from ai_assistant.engine.sampling import Row, log_probabilities
from ai_assistant.engine.sequence import Prepared, Sequence
from ai_assistant.engine.statistics import Statistics
from ai_assistant.kvcache.cache import KvCache
from ai_assistant.protocol.chunks import FinishReason, TokenLogprob, TopLogprob
from ai_assistant.protocol.errors import AssistantError, EngineError
from ai_assistant.protocol.frames import Abort, EnginePlan, Failed, Report, Shutdown
from ai_assistant.protocol.status import EngineStatus

STATUS_SECONDS = 0.5
"""How often a working engine says how it is."""
IDLE_SECONDS = 0.02
"""A pause so long means that nobody is in a hurry."""


class Engine:
    """One model that writes text. `run` returns when the node wants it to end."""

    def __init__(self, plan: EnginePlan, model: Model, orders: Orders, reports: Reports) -> None:
        self._plan = plan
        self._model = model
        self._orders = orders
        self._reports = reports
        # A recurrent model pays for each sequence id with a state of its own.
        ids = plan.slots + (min(plan.retained, 4) if model.has_state else plan.retained)
        self._context = Context(
            model,
            cells=plan.cells,
            sequences=ids,
            chunk=plan.chunk,
            outputs=plan.slots,
            threads=plan.threads,
            threads_batch=plan.threads_batch,
            kv_type=plan.kv_type,
        )
        self._cache = KvCache(
            cells=self._context.cells,
            sequences=self._context.sequences,
            shares_prefixes=model.shares_prefixes,
        )
        limits = Limits(
            slots=min(plan.slots, self._context.sequences),
            retained=self._context.sequences - min(plan.slots, self._context.sequences),
            chunk=plan.chunk,
            park_bytes=plan.park_bytes,
            warm_bytes=plan.warm_bytes,
            shares_prefixes=model.shares_prefixes,
        )
        self._batcher = Batcher(self._cache, self._context, limits)
        self._ends = model.vocabulary.ends
        self._outbox = Outbox(reports)
        self._aborted = Aborted()
        self._statistics = Statistics()
        self._process = psutil.Process()
        self._status_at = 0.0
        self._draining = False

    def run(self) -> None:
        """Work until a shutdown order."""
        while not (self._draining and self._idle):
            self.accept()
            parts = self._batcher.next()
            if parts and self.decode(parts):
                self.commit(parts)
            self.report()
        self._outbox.flush()

    @property
    def _idle(self) -> bool:
        orders = self._orders
        return not (self._batcher.busy or orders.unprepared or not orders.arrivals.empty())

    # Accept.

    def accept(self) -> None:
        """Take in what arrived; wait for it when there is nothing to do."""
        arrivals = self._orders.arrivals
        if not self._batcher.busy:
            self._rest()
        while not arrivals.empty():
            self._take(arrivals.get())

    def _rest(self) -> None:
        """Wait for an order; use a pause for what nobody should wait for."""
        self._outbox.flush()
        self.report(now=True)
        while not self._take_within(IDLE_SECONDS) and not self._draining:
            if not self._batcher.save_one():
                self._cache.check_integrity()
                self._batcher.warm.check_integrity()
                self._take_within(None)
                return

    def _take_within(self, seconds: float | None) -> bool:
        with contextlib.suppress(queue.Empty):
            self._take(self._orders.arrivals.get(timeout=seconds))
            return True
        return False

    def _take(self, arrival: object) -> None:
        match arrival:
            case Prepared(sequences):
                self._enqueue(sequences)
            case Failed():
                self._reports.send(arrival)
            case Abort(request_id):
                self._abort(request_id)
            case Shutdown(drain):
                self._shut_down(drain)
            case _:
                raise TypeError(f"not an arrival: {arrival!r}")

    def _enqueue(self, sequences: list[Sequence]) -> None:
        request_id = sequences[0].request.request_id
        if self._aborted.take(request_id):
            return
        if len(self._batcher.waiting) >= self._plan.queue:
            error = too_many_wait(len(self._batcher.waiting))
            self._reports.send(Failed(request_id, error.info()))
            return
        for sequence in sequences:
            self._batcher.add(sequence)
        self._outbox.open(sequences)

    def _abort(self, request_id: str) -> None:
        sequences = self._batcher.of_request(request_id)
        for sequence in sequences:
            self._batcher.finish(sequence)
        self._outbox.close(request_id)
        if not sequences:
            self._aborted.add(request_id)

    def _shut_down(self, drain: bool) -> None:
        if not drain:
            os._exit(0)
        self._draining = True

    # Decode.

    def decode(self, parts: list[Part]) -> bool:
        """Compute one batch; False when it could not be and its sequences were dealt with."""
        if len(parts) < sum(part.count for part in parts):
            # A prompt takes long: what is written already must not wait for it.
            self._outbox.flush()
        self._step_started = time.perf_counter()
        batch = self._context.batch
        batch.clear()
        for part in parts:
            sequence, start = part.sequence, part.sequence.computed
            tokens = sequence.tokens[start : start + part.count]
            batch.add(sequence.slot, start, tokens, part.count == sequence.remaining)
        begun = time.perf_counter()
        try:
            self._context.decode(batch)
        except NoRoom:
            if not self._batcher.make_room(parts):
                self._fail(parts, EngineError("its KV cache has no room for this request"))
            return False
        except Exception as error:  # noqa: BLE001 - every sequence of the batch hears of it
            self._fail(parts, error)
            return False
        self._logits = self._context.logits(batch.outputs) if batch.outputs else None
        self._kernel_seconds = time.perf_counter() - begun
        return True

    def _fail(self, parts: list[Part], error: Exception) -> None:
        """The kernels failed: the state of these sequences is lost, the others go on."""
        self._batcher.unbook(parts)
        for request_id in {part.sequence.request.request_id for part in parts}:
            self._refuse(request_id, EngineError(f"The kernels failed on this request: {error}"))

    def _refuse(self, request_id: str, error: AssistantError) -> None:
        """A request that was accepted ends with an error."""
        for sequence in self._batcher.of_request(request_id):
            self._batcher.finish(sequence, keep=False)
        self._outbox.close(request_id)
        self._reports.send(Failed(request_id, error.info()))

    # Commit.

    def commit(self, parts: list[Part]) -> None:
        """Choose a token for each sequence whose tokens are all computed, and send it."""
        ready: list[Sequence] = []
        prompt_tokens = 0
        for part in parts:
            sequence = part.sequence
            if part.count > 1 or sequence.computed < sequence.prompt_length:
                prompt_tokens += part.count
            sequence.computed += part.count
            if sequence.remaining == 0:
                ready.append(sequence)
        if ready:
            self._choose(ready)
        self._outbox.tick()
        now = time.perf_counter()
        self._statistics.step(
            prompt=prompt_tokens,
            generated=len(ready),
            kernels=self._kernel_seconds,
            outside=now - self._step_started - self._kernel_seconds,
        )

    def _choose(self, ready: list[Sequence]) -> None:
        logits = self._logits
        assert logits is not None
        greedy: list[int] | None = None
        if all(s.sampler.plain_greedy and s.request.logprobs is None for s in ready):
            greedy = logits.argmax(axis=1).tolist()
        for index, sequence in enumerate(ready):
            if sequence.slot < 0:  # its request was refused a moment ago
                continue
            try:
                if greedy is None:
                    self._choose_one(sequence, logits[index])
                else:
                    self._append(sequence, greedy[index], None)
            except AssistantError as error:
                self._refuse(sequence.request.request_id, error)
            except Exception as error:  # noqa: BLE001 - one bad row must not end the others
                reason = EngineError(f"No token could be chosen: {error}")
                self._refuse(sequence.request.request_id, reason)

    def _choose_one(self, sequence: Sequence, row: Row) -> None:
        wanted = sequence.request.logprobs is not None
        raw = row.copy() if wanted else row
        token = sequence.sampler.choose(row, sequence.tokens)
        self._append(sequence, token, self._logprob(sequence, raw, token) if wanted else None)

    def _append(self, sequence: Sequence, token: int, logprob: TokenLogprob | None) -> None:
        """The sequence goes on with `token`, or ends."""
        if not sequence.first_token_at:
            self._first_token(sequence)
        sequence.tokens.append(token)
        sequence.sampler.accept(token)
        finish: FinishReason | None = None
        if token in self._ends and not sequence.request.ignore_eos:
            sequence.output.end_token(token)
            finish = "stop"
        elif sequence.output.push(token):
            finish = "stop"
        elif len(sequence.tokens) >= sequence.limit:
            finish = "length"
        if logprob and not (finish == "stop" and token in self._ends):
            sequence.output.logprobs.append(logprob)
        if finish:
            self._batcher.finish(sequence)
            self._outbox.finish(sequence, finish)
        else:
            self._outbox.changed(sequence)

    def _first_token(self, sequence: Sequence) -> None:
        sequence.first_token_at = time.perf_counter()
        self._statistics.prompt_tokens += sequence.prompt_length
        self._statistics.cached_tokens += sequence.cached

    def _logprob(self, sequence: Sequence, row: Row, token: int) -> TokenLogprob:
        count = sequence.request.logprobs or 0
        chosen, ids, values = log_probabilities(row, token, count)
        piece = self._model.vocabulary.piece
        top = tuple(
            TopLogprob(piece(i).decode("utf-8", "replace"), piece(i), value)
            for i, value in zip(ids, values, strict=True)
        )
        return TokenLogprob(piece(token).decode("utf-8", "replace"), piece(token), chosen, top)

    # Report.

    def report(self, *, now: bool = False) -> None:
        """Say how the engine is, now and then."""
        if now or time.perf_counter() - self._status_at >= STATUS_SECONDS:
            self._status_at = time.perf_counter()
            self._reports.send(Report(self.status()))

    def status(self) -> EngineStatus:
        """The engine as it is now."""
        cache, statistics, batcher = self._cache, self._statistics, self._batcher
        return EngineStatus(
            pid=os.getpid(),
            slots=self._plan.slots,
            running=len(batcher.running),
            waiting=len(batcher.waiting) - batcher.parked,
            parked=batcher.parked,
            context_limit=self._plan.context_limit,
            cells_total=self._context.cells,
            cells_used=self._context.cells - cache.free_cells,
            cells_retained=cache.retained_cells(),
            warm_bytes=batcher.warm.bytes,
            prompt_tokens=statistics.prompt_tokens,
            cached_tokens=statistics.cached_tokens,
            generated_tokens=statistics.generated_tokens,
            prefill_tokens_per_second=statistics.prefill.per_second,
            decode_tokens_per_second=statistics.decode.per_second,
            steps=statistics.steps,
            decode_ms_mean=statistics.decode_ms,
            python_ms_mean=statistics.python_ms,
            memory_bytes=self._process.memory_info().rss,
            threads=self._plan.threads,
        )

    def warm_up(self) -> None:
        """Touch the weights and the shapes that will be used, so that the first answer is quick."""
        vocabulary = self._model.vocabulary
        token = max(vocabulary.bos, 0)
        for count in (1, min(self._plan.slots, self._plan.chunk)):
            batch = self._context.batch
            batch.clear()
            for sequence in range(count):
                batch.add(sequence, 0, array("i", [token]), True)
            self._context.decode(batch)
            self._context.clear()
