"""Passes over the same steps: what is believed, what is repeated."""

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.devices.layout.passes import LONG, NEAR, Pass, doubt, doubted, least, wanted
from ai_assistant.protocol.layout import Case, Timed, TrialReport

TRUE = {Case(1): 1e-3, Case(64): 0.02, Case(1, 2048): 2e-3, Case(512): 0.3}
FACTORS = st.fixed_dictionaries({case: st.floats(1.0, 10.0) for case in TRUE})
CALM = st.fixed_dictionaries({case: st.floats(1.0, NEAR - 0.01) for case in TRUE})


def one(factors: dict[Case, float], *, quiet: bool = True) -> Pass:
    times = tuple(Timed(case, TRUE[case] * factor) for case, factor in factors.items())
    return Pass(report=TrialReport(times=times, memory={"compute/CPU": 5}), quiet=quiet)


@given(st.lists(FACTORS, max_size=3), CALM, CALM, st.randoms())
def test_two_passes_in_peace_are_enough_whatever_the_others_were(
    disturbed: list[dict[Case, float]],
    first: dict[Case, float],
    second: dict[Case, float],
    chance: object,
) -> None:
    passes = [*(one(factors, quiet=False) for factors in disturbed), one(first), one(second)]
    chance.shuffle(passes)  # type: ignore[attr-defined]
    assert doubted(passes) == ()
    for timed in least(passes).times:
        assert TRUE[timed.case] <= timed.seconds < NEAR * TRUE[timed.case]


@given(
    CALM, st.lists(st.floats(NEAR + 0.01, 20.0), min_size=1, max_size=4), st.sampled_from([*TRUE])
)
def test_least_time_that_no_other_pass_came_near_to_is_doubted(
    calm: dict[Case, float], slower: list[float], case: Case
) -> None:
    passes = [one(calm), *(one(calm | {case: factor * calm[case]}) for factor in slower)]
    assert doubted(passes) == (case,)
    assert doubt(passes) > NEAR


@given(st.lists(FACTORS, min_size=1, max_size=4))
def test_steps_that_were_never_timed_in_peace_are_doubted(all_of: list[dict[Case, float]]) -> None:
    assert set(doubted([one(factors, quiet=False) for factors in all_of])) == set(TRUE)


@given(st.lists(FACTORS, min_size=1, max_size=4), FACTORS)
def test_further_pass_never_makes_a_step_slower(
    before: list[dict[Case, float]], after: dict[Case, float]
) -> None:
    passes = [one(factors) for factors in before]
    known = {timed.case: timed.seconds for timed in least(passes).times}
    for timed in least([*passes, one(after)]).times:
        assert timed.seconds <= known[timed.case]


def test_what_takes_very_long_is_timed_once() -> None:
    times = (Timed(Case(1), 0.1), Timed(Case(512), LONG + 1))
    slow = [Pass(report=TrialReport(times=times))]
    assert wanted((Case(1), Case(512)), slow) == (Case(1),)
    assert wanted((Case(1), Case(512)), []) == (Case(1), Case(512))
    assert doubted(slow) == (Case(1),)


def test_memory_is_that_of_the_pass_that_took_most() -> None:
    few = Pass(report=TrialReport(times=(Timed(Case(1), 1.0),), memory={"compute/CPU": 3}))
    assert least([one(dict.fromkeys(TRUE, 1.0)), few]).memory == {"compute/CPU": 5}
