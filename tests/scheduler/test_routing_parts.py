"""What routing knows: needs of a request, beginnings that are held, speeds that were seen."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scheduler.routing_cases import fact

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.offers import Offer, Price
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    OutputFormat,
    TextPrompt,
    TokenPrompt,
    Tool,
)
from ai_assistant.protocol.routing import NO_WISHES, Wishes, together
from ai_assistant.scheduler.routing.decide import decide
from ai_assistant.scheduler.routing.facts import Ask
from ai_assistant.scheduler.routing.learned import Learned
from ai_assistant.scheduler.routing.need import ask_of, read, tokens_of
from ai_assistant.scheduler.routing.prefixes import Prefixes
from ai_assistant.scheduler.routing.routes import read_routes
from ai_assistant.scheduler.routing.words import explained, reason
from ai_assistant.scheduler.speeds import quality_elsewhere

LONG = "The boat went out before dawn and came back with nothing but rain. " * 20


def chat(*texts: str, tenant: str = "", **fields: object) -> GenerateRequest:
    roles = ("user", "assistant")
    messages = tuple(ChatMessage(role=roles[at % 2], content=text) for at, text in enumerate(texts))
    tools = fields.pop("tools", ())
    prompt = ChatPrompt(messages=messages, tools=tools)  # type: ignore[arg-type]
    return GenerateRequest(request_id="r", model="m", prompt=prompt, tenant=tenant, **fields)  # type: ignore[arg-type]


# Needs.


def test_what_a_request_needs_is_told_by_it() -> None:
    assert read(chat("hi")).abilities == {"chat"}
    everything = chat(
        "hi", tools=(Tool(name="f"),), format=OutputFormat(kind="json_object"), logprobs=1
    )
    assert read(everything).abilities == {"chat", "tools", "json", "logprobs"}
    plain = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("once"))
    assert read(plain).abilities == {"text"}
    tokens = GenerateRequest(request_id="r", model="m", prompt=TokenPrompt((1, 2, 3)))
    assert read(tokens).tokens == 3


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("今天天气很好，我们去公园散步吧。", 11),
    ],
)
def test_tokens_are_guessed_within_a_third(text: str, tokens: int) -> None:
    assert tokens * 0.66 <= tokens_of(text) <= tokens * 1.5


def test_an_answer_is_as_long_as_usual_but_not_longer_than_allowed() -> None:
    assert ask_of(chat("hi"), read(chat("hi")), usual_answer=200).answer_tokens == 200
    short = chat("hi", max_tokens=5, n=2)
    ask = ask_of(short, read(short), usual_answer=200)
    assert (ask.answer_tokens, ask.most_tokens) == (10, 10)


def test_turns_of_a_conversation_draw_the_same() -> None:
    first = chat("one")
    later = chat("one", "two", "three")
    draws = {ask_of(one, read(one), usual_answer=1).draw for one in (first, later)}
    assert len(draws) == 1
    other = chat("another")
    assert ask_of(other, read(other), usual_answer=1).draw not in draws


# Beginnings.


def test_a_longer_conversation_finds_who_had_its_beginning() -> None:
    prefixes = Prefixes()
    prefixes.note(read(chat(LONG)).marks, "near", 0.0)
    later = read(chat(LONG, "An answer.", "And then?"))
    held = prefixes.held(later.marks, 10.0, kept={})
    assert held == {"near": read(chat(LONG)).tokens}
    assert prefixes.held(read(chat("Other " + LONG)).marks, 10.0, kept={}) == {}


def test_our_own_engine_also_holds_what_it_answered() -> None:
    prefixes = Prefixes()
    for worker in ("near", "far"):
        prefixes.note(read(chat(LONG)).marks, worker, 0.0)
    later = read(chat(LONG, "An answer of some words.", "And then?")).marks
    held = prefixes.held(later, 10.0, kept={"near": 86400.0})
    assert held == {"near": later[-2].tokens, "far": later[-3].tokens}
    again = read(chat(LONG, "An answer of some words.", "And then?", "This.", "So?")).marks
    held = prefixes.held(again, 10.0, kept={"near": 86400.0})
    assert held["near"] == later[-2].tokens


def test_nobody_is_taken_to_hold_what_another_key_asked() -> None:
    prefixes = Prefixes()
    prefixes.note(read(chat(LONG, tenant="ann")).marks, "near", 0.0)
    assert prefixes.held(read(chat(LONG, tenant="bob")).marks, 1.0, kept={}) == {}


def test_what_is_held_elsewhere_is_forgotten_after_minutes_and_here_after_a_day() -> None:
    prefixes, marks = Prefixes(), read(chat(LONG)).marks
    prefixes.note(marks, "far", 0.0)
    prefixes.note(marks, "near", 0.0)
    held = prefixes.held(marks, 3600.0, kept={"near": 86400.0})
    assert set(held) == {"near"}


def test_caches_that_do_not_hold_lose_trust() -> None:
    prefixes, marks = Prefixes(), read(chat(LONG)).marks
    prefixes.note(marks, "far", 0.0)
    before = prefixes.held(marks, 1.0, kept={})["far"]
    for _ in range(20):
        prefixes.learn("far", before, 0)
    assert prefixes.held(marks, 1.0, kept={})["far"] < before / 10


# Speeds.


@given(st.floats(0.01, 2), st.floats(1e-5, 1e-2))
def test_speed_of_reading_is_told_apart_from_the_first_token(first: float, each: float) -> None:
    learned = Learned(reading=True)
    for tokens in (50, 900, 200, 4000, 10, 2500):
        learned.note_first(tokens, first + tokens * each)
    pace = learned.pace(0)
    assert pace.first == pytest.approx(first, rel=1e-3, abs=1e-6)
    assert pace.per_prompt_token == pytest.approx(each, rel=1e-3)


def test_prompts_of_one_length_tell_the_reading_speed_of_our_own_engine_only() -> None:
    own, other = Learned(reading=True), Learned(reading=False)
    for learned in (own, other):
        for _ in range(5):
            learned.note_first(1000, 2.0)
    assert own.pace(0).per_prompt_token == pytest.approx(0.002)
    assert other.pace(0).per_prompt_token is None
    assert other.pace(0).first == pytest.approx(2.0)


def test_a_crowd_makes_tokens_slower() -> None:
    learned = Learned(reading=True)
    for crowd in (1, 4, 2, 8, 1, 4):
        learned.note_pace(0.01 + 0.002 * crowd, crowd)
    assert learned.pace(6).tpot == pytest.approx(0.022, rel=0.01)


def test_alone_it_is_as_quick_as_it_was_alone() -> None:
    """Beside a first other one it loses most, so a line through crowds says little of none."""
    learned = Learned(reading=True)
    for crowd, seconds in ((0, 0.03), (3, 0.1), (1, 0.09), (0, 0.03), (3, 0.1), (1, 0.09)):
        learned.note_pace(seconds, crowd)
    assert learned.pace(0).tpot == pytest.approx(0.03)
    assert learned.pace(3).tpot == pytest.approx(0.1, rel=0.15)
    again = Learned(reading=True)
    again.restore(learned.state())
    assert again.pace(0) == learned.pace(0)


def test_a_crowd_is_not_taken_for_a_slow_worker() -> None:
    learned = Learned(reading=True)
    for tokens, crowd in ((100, 0), (1000, 0), (300, 3), (800, 3), (300, 1), (500, 0)):
        learned.note_first(tokens, (0.1 + tokens * 0.001) * (1 + 0.5 * crowd), crowd)
    alone, beside = learned.pace(0), learned.pace(3)
    assert alone.per_prompt_token == pytest.approx(0.001, rel=0.01)
    assert beside.per_prompt_token == pytest.approx(0.0025, rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e5)), max_size=30))
def test_whatever_was_seen_predictions_are_possible(seen: list[tuple[int, float]]) -> None:
    learned = Learned(reading=True)
    for tokens, seconds in seen:
        learned.note_first(tokens, seconds, tokens % 3)
    pace = learned.pace(3)
    assert pace.first is None or pace.first >= -1e-6
    assert pace.per_prompt_token is None or pace.per_prompt_token >= 0
    again = Learned(reading=True)
    again.restore(learned.state())
    assert again.pace(3) == pace


# Quality.


def test_quality_is_the_owners_word_or_a_guess_by_price() -> None:
    offer = Offer(
        provider="p", kind="openai", model="m", names=("good",), place="cloud", region="",
        host="h", abilities=frozenset({"chat"}), price=Price(input=1, output=10),
    )  # fmt: skip
    guess, guessed = quality_elsewhere(offer, {})
    assert guessed
    assert 70 < guess < 80
    assert quality_elsewhere(offer, {"good": 33.0}) == (33.0, False)
    assert quality_elsewhere(offer, {"p/m": 44.0}) == (44.0, False)


# Wishes and routes.


def test_the_stricter_limit_of_a_key_and_a_request_counts() -> None:
    key = Wishes(objective="cost", max_price=0.1, regions=("eu", "us"), budget=3.0)
    asked = Wishes(objective="latency", max_price=0.5, max_ttft=2.0, regions=("us", "cn"))
    both = together(key, asked)
    assert both.objective == "latency"
    assert (both.max_price, both.max_ttft, both.budget) == (0.1, 2.0, 3.0)
    assert both.regions == ("us",)
    assert together(key, NO_WISHES) == key
    none = together(Wishes(regions=("eu",)), Wishes(regions=("cn",)))
    assert not decide([fact("a", region="")], Ask(prompt_tokens=1, answer_tokens=1), none).ranked


def test_routes_are_read() -> None:
    routes = read_routes(
        {
            "fast": {"models": ["a", "b"], "objective": "latency", "fallback": ["c"]},
            "spread": {"models": [{"model": "a", "weight": 3}, {"model": "b", "weight": 1}]},
        }
    )
    assert [member.model for member in routes["fast"].members] == ["a", "b"]
    assert [member.weight for member in routes["spread"].members] == [3, 1]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"fast": {}}, "routes.fast: say who answers, such as models"),
        ({"fast": {"models": []}}, "routes.fast: say who answers"),
        ({"fast": {"models": ["a"], "objectiv": "cost"}}, "did you mean objective?"),
        ({"fast": {"models": ["a"], "objective": "cheap"}}, "objective must be one of order, "),
        ({"fast": {"models": "a"}}, "models must be a list of names"),
        ({"fast": {"models": ["a"], "max_price": -1}}, "max_price must be a number of at least 0"),
        ({"fast": {"models": ["a"], "while_loading": 3}}, "while_loading must be true or false"),
        ({"fast": {"models": ["a", {"model": "b", "weight": 2}]}}, "every model a weight, or none"),
        ({"auto": {"models": ["a"]}}, "this name has a meaning already"),
        ({"a b": {"models": ["a"]}}, "cannot be a name"),
        ({"fast": 3}, "routes.fast must be a section: [routes.fast]"),
        (3, "routes must be sections"),
    ],
)
def test_a_wrong_route_is_named_in_the_owners_words(tree: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        read_routes(tree)


# Words.


def test_the_explanation_says_whom_the_rules_keep_out() -> None:
    candidates = [fact("cloud/best", kept="the rules: no text goes there"), fact("small")]
    ask = Ask(prompt_tokens=10, answer_tokens=10)
    choice = decide(candidates, ask)
    assert "the rules keep it from cloud/best" in reason(choice, candidates)
    decision = explained("m", choice, candidates, ask, 0.0)
    assert [one.turn for one in decision.candidates] == [1, None]
    assert decision.candidates[1].refused == "the rules: no text goes there"
    told = {term.name: term.value for term in decision.candidates[0].terms}
    parts = [float(told[name].split()[0]) for name in ("queue", "load", "first token", "prompt")]
    assert sum(parts) == pytest.approx(decision.candidates[0].ttft or 0.0, abs=2e-3)
    assert msgspec.json.decode(msgspec.json.encode(decision))["candidates"]
