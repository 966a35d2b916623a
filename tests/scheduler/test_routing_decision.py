"""Who is asked: never one that breaks a limit, and never the worse one for a better figure."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduler import routing_cases as cases
from tests.scheduler.routing_cases import fact

from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.routing import Objective, Wishes, together
from ai_assistant.scheduler.routing.decide import Choice, decide
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts, Pace
from ai_assistant.scheduler.routing.predict import affordable, predict

ASK = Ask(prompt_tokens=100, answer_tokens=100)
several = st.lists(cases.candidates, max_size=8)


def names(choice: Choice, candidates: list[CandidateFacts]) -> list[str]:
    return [candidates[found.place].name for found in choice.ranked]


@given(several, cases.asks, cases.wishes, st.sampled_from(cases.OBJECTIVES), st.booleans())
def test_who_is_asked_breaks_no_limit(
    candidates: list[CandidateFacts],
    ask: Ask,
    wishes: Wishes,
    objective: Objective,
    while_loading: bool,
) -> None:
    choice = decide(candidates, ask, wishes, objective=objective, while_loading=while_loading)
    asked = [found.place for found in choice.ranked]
    assert sorted([*asked, *choice.refused]) == list(range(len(candidates)))
    for place in asked:
        one, expected = candidates[place], predict(candidates[place], ask)
        assert not one.kept
        assert not one.rest
        assert ask.abilities <= one.abilities
        assert not wishes.regions or one.place == "process" or one.region in wishes.regions
        if wishes.max_ttft is not None and expected.measured:
            assert expected.late <= wishes.max_ttft
        if wishes.max_price_per_million is not None:
            assert one.price
            assert max(one.price.input, one.price.output) <= wishes.max_price_per_million
        for limit in (wishes.max_price, wishes.budget):
            if limit is None:
                continue
            assert one.price
            tokens = affordable(one, ask, limit)
            longest = ask.most_tokens or (ask.answer_tokens if tokens is None else tokens)
            written = longest + one.thinking
            paid = one.price.input * ask.prompt_tokens + one.price.output * written
            assert paid / 1e6 <= limit * 1.000001


@given(several, cases.asks, st.sampled_from(cases.OBJECTIVES))
def test_somebody_is_asked_where_somebody_can(
    candidates: list[CandidateFacts], ask: Ask, objective: Objective
) -> None:
    choice = decide(candidates, ask, objective=objective)
    able = [
        one
        for one in candidates
        if not (one.kept or one.rest)
        and ask.abilities <= one.abilities
        and (one.context is None or one.context >= ask.prompt_tokens + (ask.most_tokens or 0))
    ]
    assert len(choice.ranked) >= len(able)


def _turn(candidates: list[CandidateFacts], ask: Ask, objective: Objective, place: int) -> int:
    choice = decide(candidates, ask, Wishes(objective=objective))
    turns = [found.place for found in choice.ranked]
    return turns.index(place) if place in turns else len(candidates)


@given(
    st.lists(cases.candidates, min_size=1, max_size=6),
    cases.asks,
    st.sampled_from(["latency", "cost", "quality", "balanced"]),
    st.data(),
)
def test_who_becomes_quicker_or_cheaper_or_better_is_never_asked_later(
    candidates: list[CandidateFacts], ask: Ask, objective: Objective, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(candidates) - 1))
    share = data.draw(st.floats(0, 1))
    one = candidates[place]
    changes: list[CandidateFacts] = [
        replace(one, queue=one.queue * share),
        replace(one, error_rate=one.error_rate * share),
        replace(one, quality=one.quality + (100 - one.quality) * share),
        replace(one, thinking=int(one.thinking * share)),
    ]
    if one.pace.tpot is not None:
        changes.append(replace(one, pace=replace(one.pace, tpot=one.pace.tpot * share)))
    if one.pace.first is not None:
        changes.append(replace(one, pace=replace(one.pace, first=one.pace.first * share)))
    if one.price is not None:
        cheaper = replace(one.price, input=one.price.input * share, output=one.price.output * share)
        changes.append(replace(one, price=cheaper))
    before = _turn(candidates, ask, objective, place)
    for better in changes:
        after = _turn(
            [*candidates[:place], better, *candidates[place + 1 :]], ask, objective, place
        )
        assert after <= before


@given(st.lists(cases.candidates, min_size=2, max_size=6), cases.asks, cases.wishes, cases.wishes)
def test_more_wishes_never_let_more_in(
    candidates: list[CandidateFacts], ask: Ask, one: Wishes, other: Wishes
) -> None:
    both = decide(candidates, ask, together(one, other))
    for alone in (decide(candidates, ask, one), decide(candidates, ask, other)):
        assert {found.place for found in both.ranked} <= {found.place for found in alone.ranked}


def test_objectives_choose_by_their_figure() -> None:
    free, cheap, dear = (Price(input=p, output=5 * p) for p in (0.0, 3.0, 15.0))
    candidates = [
        fact("slow", pace=Pace(first=3.0, tpot=0.05), price=free, quality=20.0),
        fact("quick", pace=Pace(first=0.2, tpot=0.005), price=cheap, quality=60.0),
        fact("best", pace=Pace(first=1.0, tpot=0.02), price=dear, quality=90.0),
    ]
    chosen = {
        objective: names(decide(candidates, ASK, objective=objective), candidates)[0]
        for objective in cases.OBJECTIVES
    }  # type: ignore[misc]
    assert chosen == {
        "order": "slow", "latency": "quick", "cost": "slow", "quality": "best", "balanced": "quick",
    }  # fmt: skip


def test_an_unknown_price_is_dear_and_no_limit_lets_it_in() -> None:
    candidates = [fact("unknown", price=None), fact("known", price=Price(input=50.0, output=50.0))]
    assert names(decide(candidates, ASK, objective="cost"), candidates)[0] == "known"
    limited = decide(candidates, ASK, Wishes(max_price=10.0))
    assert names(limited, candidates) == ["known"]
    assert "unknown" in limited.refused[0].why


def test_a_limit_on_money_cuts_an_answer_that_could_be_endless() -> None:
    one = fact("dear", price=Price(input=0.0, output=1000.0))
    tokens = affordable(one, ASK, 0.5)
    assert tokens == 500
    endless = Ask(prompt_tokens=100, answer_tokens=100)
    assert decide([one], endless, Wishes(max_price=0.5)).ranked
    long = Ask(prompt_tokens=100, answer_tokens=100, most_tokens=501)
    assert not decide([one], long, Wishes(max_price=0.5)).ranked


def test_thinking_counts_where_money_is_limited() -> None:
    one = fact("thoughtful", price=Price(input=0.0, output=1000.0), thinking=300)
    assert affordable(one, ASK, 0.5) == 200
    assert predict(one, ASK).cost == 0.4
    fits, long = (Ask(prompt_tokens=1, answer_tokens=9, most_tokens=most) for most in (200, 201))
    assert decide([one], fits, Wishes(max_price=0.5)).ranked
    for limit in (Wishes(max_price=0.5), Wishes(budget=0.5)):
        refused = decide([one], long, limit).refused[0]
        assert refused.why == "201 tokens of answer and 300 of thinking may cost more than $0.5"


def test_those_who_stand_by_come_last() -> None:
    candidates = [
        fact("away", standby="away"),
        fact("spare", standby="fallback"),
        fact("usual", pace=Pace(first=90.0, tpot=1.0)),
        fact("again", standby="trial"),
    ]
    choice = decide(candidates, ASK, objective="latency")
    assert names(choice, candidates) == ["again", "usual", "spare", "away"]
    assert [found.fallback for found in choice.ranked] == [False, False, True, False]


def test_somebody_who_is_ready_answers_while_the_chosen_one_is_loaded() -> None:
    candidates = [fact("big", load=30.0), fact("spare", standby="fallback")]
    waiting = decide(candidates, ASK)
    assert names(waiting, candidates) == ["big", "spare"]
    meanwhile = decide(candidates, ASK, while_loading=True)
    assert names(meanwhile, candidates) == ["spare", "big"]
    assert meanwhile.meanwhile == 0
    assert meanwhile.ranked[0].fallback
    cold = [fact("big", load=30.0), fact("spare", standby="fallback", load=3.0)]
    assert names(decide(cold, ASK, while_loading=True), cold) == ["big", "spare"]


@given(st.floats(0, 1, exclude_max=True))
def test_weights_share_the_requests(draw: float) -> None:
    candidates = [
        fact("one", weight=1.0),
        fact("three", weight=3.0),
        fact("out", weight=4.0, rest="x"),
    ]
    ask = replace(ASK, draw=draw)
    assert names(decide(candidates, ask), candidates)[0] == ("one" if draw < 0.25 else "three")


def test_who_holds_the_prompt_keeps_the_conversation() -> None:
    candidates = [fact("one", weight=1.0, cached_tokens=90), fact("three", weight=3.0)]
    assert names(decide(candidates, replace(ASK, draw=0.9)), candidates)[0] == "one"


def test_a_conversation_moves_only_for_more_than_computing_it_again() -> None:
    ask = Ask(prompt_tokens=10_000, answer_tokens=100)
    reading = Pace(first=0.1, per_prompt_token=1e-4, tpot=0.01)
    holder = fact("holder", pace=reading, cached_tokens=9_900)
    for gain, first in ((0.5, "holder"), (2.0, "other")):
        queued = replace(holder, queue=gain)
        candidates = [fact("other", pace=reading), queued]
        # To compute it anew takes 0.99 s.
        assert names(decide(candidates, ask, objective="latency"), candidates)[0] == first


def test_a_model_that_is_not_in_memory_breaks_a_limit_on_time_even_unmeasured() -> None:
    cold = fact("cold", load=5.0, pace=Pace())
    unknown = fact("unknown", pace=Pace(), guess=Pace(first=9.0))
    choice = decide([cold, unknown], ASK, Wishes(max_ttft=1.0))
    assert [found.place for found in choice.ranked] == [1]
    assert "6.00 s, more than 1 s" in choice.refused[0].why
