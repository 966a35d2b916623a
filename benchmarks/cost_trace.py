"""Mixed requests of a small office, generated from a seed, and the clouds that could answer them.

Everything here that was not measured is an assumption; `ASSUMPTIONS` says so in words, and
`benchmarks.cost` prints it beside its figures.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ai_assistant.protocol.offers import Price
from ai_assistant.workers.providers.prices import known_price
from ai_assistant.workers.remote.kinds import KINDS


@dataclass(frozen=True)
class Sort:
    """A sort of requests: its share, how good a model it needs, and its medians."""

    name: str
    share: float
    quality: float
    prompt: int
    """Tokens of a first prompt; each later turn adds the answer and a question."""
    answer: int
    turns: tuple[int, int]
    ttft: float
    """The target: seconds to the first token."""


SORTS = (
    Sort("small talk, rewriting", 0.30, 25, 150, 150, (1, 6), 2.0),
    Sort("labels and fields of a text", 0.25, 25, 500, 40, (1, 1), 5.0),
    Sort("questions about a document", 0.15, 40, 2500, 250, (1, 4), 5.0),
    Sort("code and tools", 0.15, 40, 1200, 400, (1, 6), 5.0),
    Sort("hard reasoning", 0.15, 75, 800, 1200, (1, 2), 10.0),
)
TOKENS_PER_SECOND = 8.0
"""The other half of the target: an answer comes as fast as people read."""
GAP = 25.0
"""Seconds between conversations, on average."""
THINKING = 30.0
"""Seconds between an answer and the next question, on average."""


@dataclass(frozen=True)
class Cloud:
    """A model of a provider; the price is the library's, the rest is assumed."""

    kind: str
    model: str
    quality: float
    ttft: float
    tpot: float

    @property
    def price(self) -> Price:
        """Dollars per million tokens; raises `LookupError`."""
        found = known_price(self.kind, KINDS[self.kind], self.model, own_machine=False)
        if found is None:
            raise LookupError(f"no price of {self.model}")
        return found


CLOUDS = (
    Cloud("openai", "gpt-5-nano", 45, 0.6, 0.006),
    Cloud("gemini", "gemini-2.5-flash-lite", 45, 0.5, 0.005),
    Cloud("openai", "gpt-5-mini", 65, 0.8, 0.010),
    Cloud("anthropic", "claude-haiku-4-5", 65, 0.7, 0.009),
    Cloud("openai", "gpt-5", 85, 1.2, 0.015),
    Cloud("gemini", "gemini-2.5-pro", 85, 1.5, 0.012),
    Cloud("anthropic", "claude-sonnet-4-5", 85, 1.2, 0.015),
)
SPREAD = 0.4
"""Sigma of the clouds' log-normal times."""


@dataclass(frozen=True)
class Request:
    """One of the trace."""

    at: float
    talk: int
    sort: Sort
    prompt: int
    known: int
    """Tokens of the prompt that the turn before held already."""
    said: int
    """Tokens of the answer to the turn before, behind those."""
    answer: int


def trace(count: int, seed: int) -> list[Request]:
    """So many requests, in the order of their times."""
    rng = random.Random(seed)
    found: list[Request] = []
    start, talk = 0.0, 0
    while len(found) < count * 1.2:
        start += rng.expovariate(1 / GAP)
        talk += 1
        found += _talk(rng, start, talk)
    return sorted(found, key=lambda one: one.at)[:count]


def _talk(rng: random.Random, at: float, talk: int) -> Iterator[Request]:
    (sort,) = rng.choices(SORTS, [sort.share for sort in SORTS])
    known, said, prompt = 0, 0, _about(rng, sort.prompt)
    for _ in range(rng.randint(*sort.turns)):
        answer = _about(rng, sort.answer)
        yield Request(at, talk, sort, prompt, known, said, answer)
        known, said = prompt, answer
        prompt += answer + _about(rng, 60)
        at += answer / 30 + rng.expovariate(1 / THINKING)


def _about(rng: random.Random, median: int) -> int:
    return max(8, round(median * rng.lognormvariate(0, 0.5)))


ASSUMPTIONS = (
    *(
        f"{sort.share:.0%} of the conversations: {sort.name}; about {sort.prompt} tokens read and "
        f"{sort.answer} written, {sort.turns[0]} to {sort.turns[1]} turns; needs {sort.quality:g} "
        f"points; first token within {sort.ttft:g} s"
        for sort in SORTS
    ),
    f"target for all: {TOKENS_PER_SECOND:g} tokens/s after the first one",
    f"a conversation every {GAP:g} s, {THINKING:g} s of thought between its turns, on average",
    *(
        f"{one.model}: {one.quality:g} points, first token {one.ttft:g} s, "
        f"{one.tpot * 1e3:g} ms a token (assumed, log-normal, sigma {SPREAD}); "
        f"${one.price.input:g} and ${one.price.output:g} per million tokens (genai-prices)"
        for one in CLOUDS
    ),
    "points of quality are assumed, as an owner would set them under [routing.quality]",
    "tokens of all models are counted alike; a cloud caches a prompt's beginning for 5 minutes, an "
    "engine here also what it answered",
)
