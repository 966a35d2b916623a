"""How many threads the next step should use, from what steps took and what the machine does.

ggml ends every operation in a barrier. A thread whose core is taken lets all others wait, so too
many threads cost far more than too few: down at once, up with care. The penalty is a time per
step, not a factor: long steps bear it and may use more threads than there are free cores.
"""

from collections.abc import Sequence

from ai_assistant.engine.pace.calibrate import Calibration
from ai_assistant.engine.pace.free_cores import FreeCores
from ai_assistant.engine.pace.load import LoadSample
from ai_assistant.engine.pace.search import Search

FEW = 2
"""Steps of so many tokens wait for memory, and more threads may gain nothing; from there on they
compute: eight streams on two cores gained nearly twice from the second one."""
CHUNK_TOKENS = 64
"""Larger steps are a kind of their own: barriers matter less to them."""
LONG = 0.3
"""Seconds of a step, with the present threads and no others, from which more threads than there
are free cores may be tried. Barriers add 0.1 to 0.4 s to a step on a full machine (measured, 8 to
24 layers): a vain try costs a step or two, not seventy."""
CALM = 0.25
"""Cores that others may use on a machine that looks calm."""
DECODE, CHUNK, PROMPT = range(3)


def candidates(most: int) -> list[int]:
    """Counts worth a look: all up to 8, then four per octave, and `most` itself."""
    counts = list(range(1, min(most, 8) + 1))
    step = 2
    while counts[-1] + step < most:
        counts.append(counts[-1] + step)
        if counts[-1] >= 8 * step:
            step *= 2
    return counts if counts[-1] >= most else [*counts, most]


def kind_of(tokens: int) -> int:
    """The kind of a step."""
    return DECODE if tokens <= FEW else CHUNK if tokens <= CHUNK_TOKENS else PROMPT


class ThreadController:
    """Call `choose` before a step and `observe` after it. No clock and no system in here."""

    def __init__(self, most: int, calibration: Calibration | None = None) -> None:
        """`most` threads at most. Without a calibration every kind starts with all of them."""
        self.most = max(1, most)
        self._counts = candidates(self.most)
        self._free = FreeCores(self.most)
        self._searches: dict[tuple[int, int], Search] = {}
        self._cores = self._allowed = self.most
        self._current = self._start(calibration)
        self._settled = [self._searches[kind, self.most].count for kind in (DECODE, CHUNK, PROMPT)]

    def _start(self, calibration: Calibration | None) -> Search:
        for kind in (DECODE, CHUNK, PROMPT):
            count = self.most
            if calibration:
                count = calibration.decode if kind == DECODE else calibration.prefill
            search = self._searches[kind, self.most] = Search(self._counts, min(count, self.most))
            if calibration:
                for (threads, tokens), seconds in calibration.table.items():
                    if threads == search.count and kind_of(tokens) == kind:
                        search.seed(tokens, seconds)
        return self._searches[DECODE, self.most]

    def allow(self, most: int) -> None:
        """Use so many threads at most from now on, however long a step is."""
        self._allowed = max(1, min(most, self.most))

    def choose(self, tokens: int, now: float, load: LoadSample) -> int:
        """The threads for a step of `tokens` that begins at `now` (seconds, any steady clock)."""
        cores = min(self._free.follow(now, load), self._allowed)
        if cores != self._cores:
            self._change(cores, now)
        kind = kind_of(tokens)
        self._current = self._search(kind)
        if load.other_cores < CALM and (kind == PROMPT or self._current.doubtful):
            # What slowed these steps down once may be over. A vain try costs little of a long step,
            # and of others it is made once.
            self._current.hasten(now)
        allowed = self._allowed if self._long(kind, tokens) else cores
        self._settled[kind] = min(self._current.count, allowed)
        return self._current.next(tokens, now, allowed)

    def _long(self, kind: int, tokens: int) -> bool:
        calm, current = self._searches[kind, self.most], self._current
        here = current.expected(tokens) * current.count
        # The calm figure may come from a moment that was not calm; none can be too small.
        work = min(here, calm.expected(tokens) * calm.count or here * (kind == PROMPT))
        return work / current.count >= LONG

    def observe(self, tokens: int, seconds: float, now: float) -> None:
        """The step that was asked for last took `seconds` and ended at `now`."""
        if tokens > 0 and seconds > 0:
            self._current.observe(tokens, seconds, now)

    @property
    def decode(self) -> int:
        """The settled count for few tokens, whether or not a probe runs."""
        return self._settled[DECODE]

    @property
    def prefill(self) -> int:
        """The settled count for many tokens."""
        return self._settled[PROMPT]

    @property
    def probing(self) -> bool:
        """Whether the step that was asked for last is an experiment."""
        return self._current.probe is not None

    def _change(self, cores: int, now: float) -> None:
        for kind in (DECODE, CHUNK, PROMPT):
            self._search(kind).leave(now)
        self._cores = cores
        self._settled = [min(count, cores) for count in self._settled]

    def _search(self, kind: int) -> Search:
        """What is known for this kind with so many free cores."""
        key = (kind, self._cores)
        if key not in self._searches:
            above = min(cores for k, cores in self._searches if k == kind and cores > self._cores)
            count = min(self._searches[kind, above].count, self._cores)
            self._searches[key] = Search(self._with_cores(), count, hurry=True)
        return self._searches[key]

    def _with_cores(self) -> Sequence[int]:
        return sorted({*self._counts, self._cores})
