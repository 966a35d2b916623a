"""The engine's loop: accept what arrived, next batch, decode, commit tokens and send."""

import contextlib
import os
import queue
import time
from array import array
from collections.abc import Iterable

from ai_assistant.engine.channel import Aborted, Orders, Reports, too_many_wait
from ai_assistant.engine.exchange.desk import Exchange
from ai_assistant.engine.exchange.taking import Checked
from ai_assistant.engine.figures import Figures
from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.moving import Change, move
from ai_assistant.engine.outbox import Outbox
from ai_assistant.engine.passing import Passing
from ai_assistant.engine.pins import compute as pin
from ai_assistant.engine.pressure import ease
from ai_assistant.engine.restraint import Restrained
from ai_assistant.engine.sequence import Prepared, Sequence
from ai_assistant.engine.setup import Parts, build
from ai_assistant.engine.statistics import Statistics
from ai_assistant.engine.stepping import Stepping
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.frames import (
    Abort,
    AskBlocks,
    Ease,
    Failed,
    HandOver,
    Limit,
    Move,
    Moved,
    Report,
    Resume,
    Shutdown,
    TakeOver,
    Tokenized,
)
from ai_assistant.protocol.status import EngineStatus

STATUS_SECONDS = 0.5
"""How often a working engine says how it is."""
IDLE_SECONDS = 0.02
"""A pause so long means that nobody is in a hurry."""
INDEX_SECONDS = 5.0
"""How long a start may wait to know what is on disk."""
CLOSE_SECONDS = 20.0
"""How long an orderly end may take to write what is not on disk yet."""


class Engine:
    """One model that writes text. `run` returns when the node wants it to end."""

    def __init__(self, plan: EnginePlan, model: Model, orders: Orders, reports: Reports) -> None:
        self._model = model
        self._orders = orders
        self._reports = reports
        self._statistics = Statistics()
        self._restrained = Restrained()
        self._outbox = Outbox(reports)
        parts = build(plan, model)
        self.stepping = Stepping(model, parts, self._statistics, self._outbox, reports)
        self._use(plan, parts)
        self.intake: Intake | None = None
        """Prepares the requests beside the loop."""
        self._asked: Move | HandOver | None = None
        """What is to be done between two steps, once all earlier requests are prepared."""
        self._aborted = Aborted()
        self._passing = Passing(model, self._outbox, self._aborted, reports)
        self._exchange = Exchange(model, reports, orders.arrivals)
        self._status_at = 0.0
        self._draining = False

    def _use(self, plan: EnginePlan, parts: Parts) -> None:
        """Go on by this plan, with these parts."""
        self._plan = plan
        self._parts = parts
        self._residence = parts.residence
        self._batcher = parts.batcher
        self._cold = parts.cold
        self._figures = Figures(plan, self._model, parts, self._statistics)
        self._restrained.apply(parts.tempo, parts.batcher, parts.guesses)
        self.stepping.use(parts)

    def run(self) -> None:
        """Work until a shutdown order."""
        while not (self._draining and self._idle):
            self.accept()
            if self._asked and self._orders.all_prepared:
                self._change()
            parts = self._batcher.next()
            if parts and self.stepping.decode(parts):
                self.stepping.commit(parts)
                if self._restrained.rests:
                    self._pause()
            self.report()
        self._outbox.flush()
        self._close()

    def _close(self) -> None:
        """Save what is worth it, within the time that a stop may take."""
        if self._cold is None:
            return
        deadline = time.perf_counter() + CLOSE_SECONDS
        while time.perf_counter() < deadline and self._residence.saver.save_step():
            while self._cold.crowded and time.perf_counter() < deadline:
                self._cold.flush(0.1)
        self._cold.close(max(deadline - time.perf_counter(), 0.1))

    @property
    def _idle(self) -> bool:
        return self._orders.all_prepared and not self._batcher.busy

    # Accept.

    def accept(self) -> None:
        """Take in what arrived; wait for it when there is nothing to do."""
        arrivals = self._orders.arrivals
        if not self._batcher.busy:
            if self._asked:
                self._take_within(IDLE_SECONDS)
            else:
                self._rest()
        while not arrivals.empty():
            self._take(arrivals.get())

    def _rest(self) -> None:
        """Wait for an order; use a pause for what nobody should wait for."""
        self._outbox.flush()
        self.report(now=True)
        if self._cold:
            self._cold.hold(0.0)
        while not self._take_within(IDLE_SECONDS) and not self._draining:
            if self._cold and self._cold.crowded:
                continue  # what is saved now would not be written
            if not self._residence.saver.save_step():
                self._parts.cache.check_integrity()
                self._residence.tiers.warm.check_integrity()
                self._sleep()
                return

    def _sleep(self) -> None:
        """Wait for an order; say how it is until all is on disk."""
        while self._cold and self._cold.status.queued_bytes:
            self.report(now=True)
            if self._take_within(STATUS_SECONDS):
                return
        self.report(now=True)
        self._take_within(None)

    def _pause(self) -> None:
        """Rest after a step, for the sake of power or heat; orders are heard meanwhile."""
        self._outbox.flush()
        end = time.perf_counter() + self._restrained.rest_after(self.stepping.kernel_seconds)
        while (left := end - time.perf_counter()) > 0:
            self._take_within(left)

    def _take_within(self, seconds: float | None) -> bool:
        with contextlib.suppress(queue.Empty):
            self._take(self._orders.arrivals.get(timeout=seconds))
            return True
        return False

    def _take(self, arrival: object) -> None:
        match arrival:
            case Prepared(sequences):
                self._enqueue(sequences)
            case Failed() | Tokenized():
                self._reports.send(arrival)
            case Abort(request_id):
                self._abort(request_id)
            case Shutdown(drain):
                self._shut_down(drain)
            case AskBlocks():
                self._exchange.hear(arrival, self._plan, self._parts)
            case Checked():
                self._exchange.settle(arrival, self._plan, self._parts)
            case Limit(restraint):
                self._restrained.use(
                    restraint, self._parts.tempo, self._batcher, self._parts.guesses
                )
            case Ease(warm_bytes):
                ease(self._parts, warm_bytes)
                self._parts.guesses.drop_model()
            case Move() | HandOver():
                self._asked = arrival
            case TakeOver(path):
                assert self.intake
                self._passing.arrive(path, self._plan, self._parts, self.intake)
            case Resume():
                pass
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

    # Moving.

    def _change(self) -> None:
        order, self._asked = self._asked, None
        self._outbox.flush()
        if isinstance(order, Move):
            self._move(order.plan)
        elif isinstance(order, HandOver):
            self._hand_over(order.path)

    def _move(self, plan: EnginePlan) -> None:
        """Go on with another plan for the same weights."""
        begun = time.perf_counter()
        if self.intake:  # what is prepared meanwhile has to fit as well
            self.intake.limit = min(self.intake.limit, plan.context_limit)
        parts, problem = move(self._parts, Change(self._plan, plan), self._model)
        self._use(self._plan if problem else plan, parts)
        if self.intake:
            self.intake.limit = self._plan.context_limit
        sequences = len(self._batcher.running) + len(self._batcher.waiting)
        seconds = time.perf_counter() - begun
        self._reports.send(Moved(seconds, sequences, problem.info() if problem else None))
        self.report(now=True)

    def _hand_over(self, path: str) -> None:
        """Write all sequences down, and stand still until it is known who goes on with them."""
        if self._passing.leave(path, self._plan, self._parts):
            while not isinstance(arrival := self._orders.arrivals.get(), Resume):
                self._take(arrival)

    # Report.

    def status(self) -> EngineStatus:
        """The engine as it is now."""
        return self._figures.status()

    def report(self, *, now: bool = False) -> None:
        """Say how the engine is, now and then."""
        if now or time.perf_counter() - self._status_at >= STATUS_SECONDS:
            self._status_at = time.perf_counter()
            self._reports.send(Report(self.status(), self._statistics.take_samples()))
            if self._cold:
                self._residence.speeds.learn_cold(self._cold.status.read_bytes_per_second)

    def warm_up(self, pins: Iterable["array[int]"] = ()) -> None:
        """Make the first answer as quick as the later ones; have these prompts computed."""
        self._parts.tempo.warm_up()
        if self._cold:
            self._cold.wait_ready(INDEX_SECONDS)
        for tokens in pins:
            if len(tokens) < self._parts.context.cells:
                pin(tokens, self._residence, self._parts.context)
        if self._cold:
            self._cold.pin_only(self._residence.tiers.warm.pinned)
