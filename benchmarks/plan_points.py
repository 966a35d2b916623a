"""A layout predicted and measured: steps of three kinds of work, with the same trials for both."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ai_assistant.devices.layout.predict import Bench, Layout, step
from ai_assistant.devices.layout.search import Turn
from ai_assistant.protocol.layout import Case, ModelAnatomy, Trial, TrialReport
from ai_assistant.workers import trials_list
from ai_assistant.workers.trials import PASSES, run_trial
from ai_assistant.workers.verifying import trial_of

SECONDS = trials_list.SECONDS
"""For the repetitions of one step in one round: as in a pass of the trials."""
Work = dict[str, Turn]
SHORT: Work = {
    "chat": Turn(prompt=640, known=512, answer=250, streams=1),
    "agent": Turn(prompt=1280, known=1024, answer=300, streams=1),
    "batch": Turn(prompt=256, known=0, answer=300, streams=16),
}
"""As in the planner, but shorter: every layout is measured."""
LONG: Work = {
    "chat": Turn(prompt=1536, known=1024, answer=250, streams=1),
    "agent": Turn(prompt=4096, known=2048, answer=300, streams=1),
    "batch": Turn(prompt=512, known=0, answer=300, streams=16),
}
"""For machines with a GPU."""


def prompt_of(turn: Turn) -> Case:
    """What is computed before the first token."""
    return Case(turn.prompt - turn.known, turn.known)


def token_of(turn: Turn) -> Case:
    """What is computed for each further one."""
    return Case(turn.streams, turn.prompt, turn.streams)


def cases_of(work: Work) -> tuple[Case, ...]:
    """Of each kind of work the prompt, then the token."""
    return tuple(case for turn in work.values() for case in (prompt_of(turn), token_of(turn)))


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One layout: seconds of each case, predicted and measured."""

    layout: Layout
    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    work: Work
    turns: tuple[tuple[float, ...], ...] = ()
    """What each round measured, if there were some; `measured` is the least of all."""
    beside: tuple[float, ...] = ()
    """The same steps, timed by turns with those of other layouts."""

    def errors(self, *, decode: bool) -> list[float]:
        """Of its steps of one kind, in per cent. Of rounds as many count as trials have passes: the
        least of more is less where others use the machine too, and no prediction is right."""
        found = least(self.turns[:PASSES]) or self.measured
        chosen = [place for place in range(len(found)) if place % 2 == decode]
        return [100 * abs(self.predicted[i] / found[i] - 1) for i in chosen]

    def turn(self, work: str, seconds: Sequence[float]) -> float:
        """Seconds of a turn, by what was predicted or measured."""
        place = 2 * list(self.work).index(work)
        turn = self.work[work]
        return seconds[place] + turn.answer * seconds[place + 1] / turn.streams


def least(turns: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Of each step in all rounds."""
    return tuple(map(min, zip(*turns, strict=True)))


def predicted(
    anatomy: ModelAnatomy, benches: Mapping[str, Bench], layout: Layout, work: Work
) -> tuple[float, ...]:
    """Seconds of every case."""
    bench = benches[layout.kv_type]

    def seconds(case: Case) -> float:
        if case.streams > 1:
            return step(anatomy, bench, layout, case.tokens, case.depth, streams=case.streams).total
        return sum(
            step(
                anatomy, bench, layout, min(layout.chunk, case.tokens - start), case.depth + start
            ).total
            for start in range(0, case.tokens, layout.chunk)
        )

    return tuple(seconds(case) for case in cases_of(work))


def measured(
    model: Path,
    layout: Layout,
    change: Callable[[Trial], Trial] = lambda trial: trial,
    *,
    cases: tuple[Case, ...],
    seconds: float = SECONDS,
    run: Callable[[Trial], TrialReport] = run_trial,
) -> tuple[float, ...]:
    """The same of the whole model. Raises `EngineError`."""
    trial = change(trial_of(model, layout, tuple(dict.fromkeys(cases)), seconds))
    found = {one.case: one.seconds for one in run(trial).times}
    return tuple(found[case] for case in cases)
