"""Candidates as hypothesis draws them."""

from hypothesis import strategies as st

from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.routing import Wishes
from ai_assistant.scheduler.routing.facts import Ask, CandidateFacts, Pace

ALL = frozenset({"chat", "text", "tools", "json", "grammar", "logprobs"})
REGIONS = ("", "eu", "us", "cn")
OBJECTIVES = ("order", "latency", "cost", "quality", "balanced")

seconds = st.floats(0, 100)
prices = st.builds(
    Price,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached_input=st.none() | st.floats(0, 10),
)
paces = st.builds(
    Pace,
    first=st.none() | seconds,
    per_prompt_token=st.none() | st.floats(0, 0.1),
    tpot=st.none() | st.floats(0, 1),
    spread=st.floats(0, 5),
)
guesses = st.builds(Pace, first=seconds, per_prompt_token=st.floats(0, 0.1), tpot=st.floats(0, 1))
candidates = st.builds(
    CandidateFacts,
    name=st.sampled_from(["small", "big", "cloud/a", "cloud/b", "lan/c"]),
    place=st.sampled_from(["process", "machine", "lan", "cloud"]),
    region=st.sampled_from(REGIONS),
    abilities=st.sampled_from([ALL, ALL - {"tools"}, frozenset({"chat"})]),
    context=st.none() | st.integers(1, 100_000),
    price=st.none() | prices,
    energy=st.sampled_from([0.0, 1e-5]),
    quality=st.floats(0, 100),
    weight=st.sampled_from([0.0, 1.0, 3.0]),
    standby=st.sampled_from(["", "", "trial", "fallback", "away"]),
    rest=st.sampled_from(["", "", "it rests"]),
    kept=st.sampled_from(["", "", "the rules"]),
    queue=seconds,
    load=st.just(0.0) | seconds,
    pace=paces,
    guess=guesses,
    cached_tokens=st.integers(0, 20_000),
    error_rate=st.floats(0, 1),
    thinking=st.sampled_from([0, 0, 1024, 32_000]),
)
asks = st.builds(
    Ask,
    prompt_tokens=st.integers(1, 50_000),
    answer_tokens=st.integers(1, 2_000),
    most_tokens=st.none() | st.integers(1, 4_000),
    abilities=st.sampled_from([frozenset({"chat"}), frozenset({"chat", "tools"})]),
    draw=st.floats(0, 1, exclude_max=True),
)
wishes = st.builds(
    Wishes,
    objective=st.none() | st.sampled_from(OBJECTIVES),
    max_price=st.none() | st.floats(0, 1),
    max_price_per_million=st.none() | st.floats(0, 50),
    max_ttft=st.none() | seconds,
    regions=st.sampled_from([(), ("eu",), ("eu", "us")]),
    budget=st.none() | st.floats(0, 1),
)


def fact(name: str, **fields: object) -> CandidateFacts:
    """A quick, free, able candidate, but for what is given."""
    usual: dict[str, object] = {
        "place": "cloud",
        "abilities": ALL,
        "price": Price(input=1.0, output=2.0),
        "quality": 50.0,
        "pace": Pace(first=0.5, per_prompt_token=0.0, tpot=0.01),
        "guess": Pace(first=1.0, per_prompt_token=0.0, tpot=0.02),
    }
    return CandidateFacts(name=name, **{**usual, **fields})  # type: ignore[arg-type]
