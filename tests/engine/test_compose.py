"""Who is in the next step: classes, the streams' time, the floor, fairness. No kernels."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.allowance import LEAST_SHARE, Allowance, unloaded
from ai_assistant.engine.compose import PAUSE_SECONDS, SMALLEST, Part, compose
from ai_assistant.engine.fairness import Fairness
from ai_assistant.engine.floor import MOST, Floor
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.turns import Turns
from ai_assistant.protocol.requests import GenerateRequest, Priority, TextPrompt

FIRST, NORMAL, BATCH = Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH


class Linear:
    """A step takes `base` seconds and `each` for every token."""

    def __init__(self, base: float = 0.020, each: float = 0.010) -> None:
        self.base, self.each = base, each

    def seconds(self, tokens: int) -> float | None:
        return self.base + self.each * tokens

    def tokens_within(self, seconds: float) -> int:
        return max(0, int((seconds - self.base) / self.each + 1e-9))

    def empty(self, tokens: int) -> float | None:
        return None


class Unknown:
    """Nothing was measured yet."""

    def seconds(self, tokens: int) -> float | None:
        return None

    def tokens_within(self, seconds: float) -> int:
        return 0


def sequence(
    priority: Priority, remaining: int, *, tenant: str = "", weight: float = 1.0, answer: int = 100
) -> Sequence:
    request = GenerateRequest(
        request_id="r", model="m", prompt=TextPrompt(""), priority=priority, tenant=tenant,
        weight=weight,
    )  # fmt: skip
    tokens = array("i", range(1000))
    made = Sequence(request, 0, tokens, 1000 + answer, None, None)  # type: ignore[arg-type]
    made.computed = 1000 - remaining
    return made


def counts(parts: list[Part]) -> list[tuple[Priority, int]]:
    return [(part.sequence.request.priority, part.count) for part in parts]


def test_piece_of_a_prompt_is_short_beside_an_interactive_stream() -> None:
    running = [sequence(FIRST, 1), sequence(NORMAL, 500)]
    # 100 ms would be eight tokens in all, but smaller pieces waste the machine.
    assert counts(compose(running, Linear(), 512)) == [(FIRST, 1), (NORMAL, SMALLEST[FIRST])]
    assert counts(compose(running, Linear(each=0.001), 512)) == [(FIRST, 1), (NORMAL, 79)]


def test_stream_that_can_spare_nothing_runs_alone() -> None:
    running = [sequence(FIRST, 1), sequence(FIRST, 60), sequence(NORMAL, 1), sequence(BATCH, 500)]
    assert counts(compose(running, Linear(), 512, spare=False)) == [(FIRST, 1)]


def test_prompt_takes_the_step_from_batch_streams() -> None:
    for spare in (True, False):
        for priority in (FIRST, BATCH):
            parts = compose(
                [sequence(priority, 500), sequence(BATCH, 1)], Linear(), 512, spare=spare
            )
            assert [part.sequence.request.priority for part in parts] == [priority]


def test_no_small_rest_of_a_prompt() -> None:
    fast = Linear(base=0.0, each=0.001)
    (part,) = compose([sequence(BATCH, 120)], fast, 512)
    assert part.count == 64


def test_lower_prompts_wait_for_higher_ones() -> None:
    parts = compose([sequence(FIRST, 100), sequence(BATCH, 400)], Linear(), 512)
    assert counts(parts) == [(FIRST, 100)]


def test_class_whose_turn_it_is_goes_beside_the_others() -> None:
    running = [sequence(FIRST, 1), sequence(FIRST, 300), sequence(BATCH, 400)]
    running += [sequence(BATCH, 1) for _ in range(5)]
    parts = counts(compose(running, Linear(), 512, due=BATCH, spare=False))
    assert (FIRST, 1) in parts
    assert sum(1 for part in parts if part == (BATCH, 1)) == 5
    assert any(priority == BATCH and count > 1 for priority, count in parts)


def test_a_step_with_a_batch_prompt_is_short() -> None:
    slow, fast = Linear(), Linear(base=0.001, each=0.0001)
    assert counts(compose([sequence(BATCH, 500)], slow, 512)) == [(BATCH, 64)]
    assert counts(compose([sequence(BATCH, 500)], fast, 512)) == [(BATCH, 500)]


def test_nothing_measured_yet() -> None:
    parts = compose([sequence(NORMAL, 1), sequence(NORMAL, 900)], Unknown(), 512)
    assert counts(parts) == [(NORMAL, 1), (NORMAL, 128)]


@given(
    st.lists(st.tuples(st.sampled_from(list(Priority)), st.integers(1, 900)), max_size=20),
    st.floats(0.0001, 0.1),
    st.floats(0.0001, 0.1),
    st.sampled_from([None, *Priority]),
    st.booleans(),
)
def test_every_step_moves_somebody_and_fits(
    wanted: list[tuple[Priority, int]],
    base: float,
    each: float,
    due: Priority | None,
    spare: bool,
) -> None:
    running = sorted((sequence(p, r) for p, r in wanted), key=lambda s: s.order)
    parts = compose(running, Linear(base, each), 512, due=due, spare=spare)
    assert bool(parts) == bool(running)
    assert sum(part.count for part in parts) <= 512
    assert len({id(part.sequence) for part in parts}) == len(parts)
    assert all(1 <= part.count <= part.sequence.remaining for part in parts)
    streams = [s for s in running if s.remaining == 1]
    if streams and not (streams[0].request.priority == BATCH and len(streams) < len(running)):
        top = streams[0].request.priority
        first = [s for s in streams if s.request.priority == top]
        assert all(any(part.sequence is s for part in parts) for s in first)


@given(st.floats(0.001, 0.1), st.floats(0.0005, 0.05), st.integers(1, 4), st.integers(50, 500))
def test_streams_keep_their_pace_on_the_average(
    base: float, each: float, streams: int, steps: int
) -> None:
    pace, allowance = Linear(base, each), Allowance(2.0)
    running = [sequence(FIRST, 1) for _ in range(streams)] + [sequence(BATCH, 900)]
    total = shared = longest = 0.0
    for _ in range(steps):
        parts = compose(running, pace, 512)
        seconds = pace.seconds(sum(part.count for part in parts)) or 0.0
        if not allowance.bears(FIRST, seconds - (pace.seconds(streams) or 0.0)):
            parts = compose(running, pace, 512, spare=False)
            seconds = pace.seconds(len(parts)) or 0.0
        longest = max(longest, seconds)
        total += seconds
        shared += len(parts) > streams
        allowance.passed(FIRST, pace.seconds(streams) or 0.0, seconds)
    alone = steps * (pace.seconds(streams) or 0.0)
    assert total <= 2 * alone + longest
    piece = pace.seconds(streams + SMALLEST[FIRST]) or 0.0
    assert shared >= 1 or alone <= max(piece, PAUSE_SECONDS[FIRST])


@given(st.floats(1e-3, 0.1), st.floats(0, 1e-4), st.integers(0, 5000), st.integers(0, 5000))
def test_cells_of_others_are_not_the_streams_own_time(
    empty: float, each: float, own: int, others: int
) -> None:
    alone = empty + each * (own + others)
    found = unloaded(alone, empty, own, own + others)
    honest = empty + each * own
    assert found == pytest.approx(max(honest, LEAST_SHARE * alone))


def test_an_old_figure_of_the_empty_context_takes_no_more_than_a_quarter() -> None:
    assert unloaded(0.030, None, 10, 1000) == 0.030, "never measured"
    assert unloaded(0.030, 0.001, 10, 1000) == LEAST_SHARE * 0.030, "a busier machine"
    assert unloaded(0.030, 0.050, 10, 1000) == 0.030, "a quicker one"


def test_tenants_take_turns() -> None:
    fairness = Fairness()
    greedy = [sequence(NORMAL, 1, tenant="greedy") for _ in range(10)]
    for one in greedy:
        fairness.stamp(one)
    fairness.started(greedy[0])
    late = sequence(NORMAL, 1, tenant="late")
    fairness.stamp(late)
    queue = sorted([*greedy[1:], late], key=lambda s: s.order)
    assert queue[0] is late


@pytest.mark.parametrize("weight", [1.0, 2.0, 4.0])
def test_weight_is_a_share(weight: float) -> None:
    fairness = Fairness()
    queue: list[Sequence] = []
    for _ in range(40):
        for tenant, share in (("heavy", weight), ("light", 1.0)):
            queue.append(sequence(NORMAL, 1, tenant=tenant, weight=share))
            fairness.stamp(queue[-1])
    queue.sort(key=lambda s: s.virtual_start)
    first = queue[: int(20 * (1 + weight) / weight)]
    heavy = sum(1 for one in first if one.request.tenant == "heavy")
    assert heavy / max(len(first) - heavy, 1) == pytest.approx(weight, rel=0.25)


def test_floor_gives_a_share_of_the_time() -> None:
    floor = Floor(0.05)
    served = 0.0
    for _ in range(10_000):
        due = floor.due({FIRST, BATCH})
        floor.spent(0.05, {FIRST, BATCH}, {FIRST, BATCH} if due == BATCH else {FIRST})
        served += 0.05 if due == BATCH else 0.0
    assert served / 500 == pytest.approx(0.05, rel=0.15)


def test_floor_does_not_save_for_ever() -> None:
    floor = Floor(0.5)
    for _ in range(1000):
        floor.spent(1.0, {FIRST, BATCH}, {FIRST})
    turns = 0
    while floor.due({FIRST, BATCH}) == BATCH:
        floor.spent(0.1, {FIRST, BATCH}, {FIRST, BATCH})
        turns += 1
    assert turns <= MOST / 0.1 + 1
    floor.spent(1.0, {FIRST}, {FIRST})
    assert floor.due({FIRST, BATCH}) is None


def test_short_prompts_do_not_wait_for_a_long_one_nor_hold_it_up() -> None:
    long, questions = sequence(NORMAL, 900), [sequence(NORMAL, 100) for _ in range(4)]
    parts = compose([long, *questions], Linear(), 512)
    assert [part.sequence for part in parts] == [questions[0], long]
    assert parts[-1].count == questions[0].remaining // 2
    quick = Linear(each=0.0004)
    parts = compose([long, *questions], quick, 512)
    assert [part.sequence for part in parts] == [*questions[:2], long]
    assert parts[-1].count == 312


def test_short_prompts_go_first_where_steps_are_slow() -> None:
    long, questions = sequence(NORMAL, 900), [sequence(NORMAL, 100) for _ in range(4)]
    parts = compose([long, *questions], Linear(), 512, short_first=True)
    assert [(part.sequence, part.count) for part in parts] == [(questions[0], 100)]
    parts = compose([long, *questions], Linear(each=0.0004), 512, short_first=True)
    assert long in [part.sequence for part in parts]


def test_a_long_prompt_gets_a_token_for_two_of_short_ones() -> None:
    long, turns = sequence(NORMAL, 4_000), Turns()
    taken = {True: 0, False: 0}
    for _ in range(40):
        running = [long, sequence(NORMAL, 50), sequence(NORMAL, 60)]
        parts = compose(running, Linear(), 512, short_first=turns.short_first)
        turns.passed(parts, running)
        for part in parts:
            taken[part.sequence is long] += part.count
    assert 0.4 < taken[True] / taken[False] < 0.6


def test_nothing_is_owed_where_no_long_prompt_waits() -> None:
    turns = Turns()
    for _ in range(10):
        running = [sequence(NORMAL, 100)]
        turns.passed(compose(running, Linear(), 512), running)
    assert turns.short_first


def test_short_prompts_do_not_lengthen_the_pause_of_an_interactive_stream() -> None:
    running = [sequence(FIRST, 1), sequence(FIRST, 100), sequence(FIRST, 900)]
    parts = compose(running, Linear(), 512)
    assert sum(part.count for part in parts) == 1 + SMALLEST[FIRST]


def test_short_prompt_of_a_lower_class_waits() -> None:
    parts = compose([sequence(FIRST, 900), sequence(NORMAL, 20)], Linear(), 512)
    assert [part.sequence.request.priority for part in parts] == [FIRST]


def test_whoever_is_alone_takes_large_steps() -> None:
    assert counts(compose([sequence(NORMAL, 900)], Linear(), 512)) == [(NORMAL, 256)]
    assert counts(compose([sequence(NORMAL, 900)], Linear(each=0.001), 512)) == [(NORMAL, 512)]
