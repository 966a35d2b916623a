"""Threads of each step, and what the step took: the engine's hands on its sense of time."""

import time
from array import array

from ai_assistant.engine.kernels import Context
from ai_assistant.engine.pace import (
    Calibration,
    Load,
    LoadSample,
    StepTimes,
    ThreadController,
    calibrate,
)
from ai_assistant.engine.pace.threads import candidates
from ai_assistant.protocol.engine_plan import EnginePlan

FEW_THREADS = 2
"""Enough where all layers are on a GPU."""
CALIBRATION_SECONDS = 0.8
SMALL_STEPS, SMALL_SECONDS = (2, 4, 8, 16), 0.4
"""Tokens of the steps that are measured beside those, and how long that may take."""
DISTURBED = 0.25
"""Cores that others may use while thread counts are compared."""


class Tempo:
    """Sets the context's threads before a step and learns from it afterwards."""

    def __init__(self, context: Context, plan: EnginePlan, *, after: "Tempo | None" = None) -> None:
        """`after` another plan of the same engine: what steps took then is known."""
        self._context = context
        self._plan = plan
        self._now = 0
        """Threads that the context has; 0: as it was made."""
        # More threads than the little work needs only wait for each other's turn on a busy core.
        idle = plan.elastic_threads and context.model.all_on_gpu
        self._fixed = min(plan.threads, FEW_THREADS) if idle else plan.threads
        self._usual = self._fixed
        elastic = plan.elastic_threads and not idle
        self._controller = ThreadController(plan.threads) if elastic else None
        self._source = Load()
        self.load = LoadSample(0.0, float(plan.threads), False)
        self.times = StepTimes()
        if after:
            self._follow(after)

    def _follow(self, other: "Tempo") -> None:
        self.times, self.load, self._source = other.times, other.load, other._source
        controllers = self._controller, other._controller
        if all(controllers) and self._plan.threads == other._plan.threads:
            self._controller = other._controller
        if not self._controller:
            self._set(self._fixed)

    def warm_up(self) -> None:
        """Touch the weights and the shapes that will be used; find the thread counts to start
        with by measurement."""
        counts = candidates(self._plan.threads) if self._controller else [self._fixed]
        self._source.sample(time.perf_counter())
        found = calibrate(self._time_step, counts, CALIBRATION_SECONDS)
        disturbed = self._source.sample(time.perf_counter()).other_cores > DISTURBED
        if self._controller:
            # Others computed too, the starting node for one: what was found is about them.
            trusted = None if disturbed else found
            self._controller = ThreadController(self._plan.threads, trusted)
        for (threads, tokens), seconds in found.table.items():
            if threads == _count(found, tokens):
                self.times.observe(tokens, seconds)
        self._learn_small_steps(found.decode)
        if not disturbed:
            self.times.were_empty()

    def _learn_small_steps(self, threads: int) -> None:
        """Between one token and a prompt time does not grow along a line: guesses need to know."""
        end = time.perf_counter() + SMALL_SECONDS
        for tokens in SMALL_STEPS:
            seconds = min(self._time_step(threads, tokens) for _ in range(2))
            self.times.observe(tokens, seconds)
            if time.perf_counter() + 4 * seconds > end:
                break

    def _time_step(self, threads: int, tokens: int) -> float:
        """Seconds of a step over an empty context."""
        context = self._context
        self._set(threads)
        batch = context.batch
        count = min(tokens, batch.capacity)
        batch.clear()
        batch.add(0, 0, array("i", [max(context.model.vocabulary.bos, 0)] * count), 1)
        begun = time.perf_counter()
        context.decode(batch)
        context.logits(1)[0, 0]
        seconds = time.perf_counter() - begun
        context.clear()
        return seconds

    def allow(self, threads: int) -> None:
        """Use so many threads at most from now on; 0: as planned."""
        most = min(threads or self._plan.threads, self._plan.threads)
        if self._controller:
            self._controller.allow(most)
        else:
            self._fixed = min(most, self._usual)
            self._set(self._fixed)

    def begin(self, tokens: int) -> None:
        """A step of so many tokens comes next."""
        if self._controller:
            now = time.perf_counter()
            self.load = self._source.sample(now)
            threads = self._controller.choose(tokens, now, self.load)
            self._set(threads)

    def end(self, tokens: int, seconds: float) -> None:
        """It took so long."""
        controller = self._controller
        probing = bool(controller and controller.probing)
        if controller:
            controller.observe(tokens, seconds, time.perf_counter())
            self.times.use(controller.decode, controller.prefill)
        self.times.observe(tokens, seconds, probing)

    @property
    def threads(self) -> tuple[int, int]:
        """Of single tokens and of prompts."""
        if self._controller:
            return self._controller.decode, self._controller.prefill
        return self._fixed, self._fixed

    def _set(self, threads: int) -> None:
        if self._now != threads:
            self._now = threads
            self._context.set_threads(threads, threads)


def _count(found: Calibration, tokens: int) -> int:
    return found.decode if tokens == 1 else found.prefill
