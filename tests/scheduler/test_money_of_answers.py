"""How long an answer may get is settled before money is laid aside for it, and by nothing else."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.scheduler.scripted_source import ScriptedSource

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.purse import NodePurse
from ai_assistant.gateway.keys import Caller
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import destination_of
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import BudgetSpent
from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest, Partial
from ai_assistant.scheduler.candidates import Candidate
from ai_assistant.scheduler.relay import relay
from ai_assistant.scheduler.spending import USUAL_ANSWER, within, worst_case
from ai_assistant.scheduler.turn import Turn
from ai_assistant.store.keys import Limits

PRICE = Price(input=100.0, output=10_000.0)
"""A cent for a token of answer."""
ENDLESS = 20_000


class Greedy(ScriptedSource):
    """Writes as much as it may, and is paid for each token."""

    def __init__(self, thinks: int = 0) -> None:
        super().__init__("greedy")
        self._offer = structs.replace(self._offer, price=PRICE)
        self.thinks = thinks

    def thinking(self, request: GenerateRequest) -> int:
        return self.thinks

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        self.asked.append(request)
        yield TokenChunk(text="x")
        await asyncio.sleep(0)
        begun = request.partial.generated if request.partial else 0
        most = (request.max_tokens or ENDLESS) - begun + self.thinks
        usage = Usage(prompt_tokens=20, completion_tokens=most * request.n)
        yield TokenChunk(finish="length", usage=usage)


class House:
    """One key with a budget, and a model that costs."""

    def __init__(self, folder: Path, budget: float, source: Greedy) -> None:
        self.log = EgressLog(folder / "egress")
        (folder / "policy.toml").write_text('[unlabelled]\nallow = ["*"]\n')
        self.gate = Gate(RulesFile(folder / "policy.toml"), self.log)
        self.book = Accounts()
        who = Caller(tenant="ann", name="ann", limits=Limits(dollars_per_day=budget))
        self.book.admit(who, 1).close()
        self.source = source

    async def ask(self, request: GenerateRequest, *, most: int | None = None) -> None:
        where = destination_of(self.source.offer)
        candidate = Candidate(
            name="greedy", source=self.source, destination=where, remote=self.source
        )
        turn = Turn(candidate=candidate, most_tokens=most, answer_tokens=10)
        purse = NodePurse(self.book, None)
        async for _ in relay(request, [turn], self.gate, purse=purse):
            pass

    @property
    def spent(self) -> float:
        return self.book.account("key:ann").spent(self.book.now().day)[0]


def question(number: int = 0, **fields: object) -> GenerateRequest:
    prompt = ChatPrompt(messages=(ChatMessage(role="user", content="Hello?"),))
    return GenerateRequest(
        request_id=f"r{number}", model="m", prompt=prompt, tenant="ann", **fields
    )  # type: ignore[arg-type]


def test_an_answer_that_a_limit_shortens_is_paid_for_as_short(tmp_path: Path) -> None:
    house = House(tmp_path, 2.0, Greedy())
    asyncio.run(house.ask(question(), most=100))
    assert house.source.asked[0].max_tokens == 100
    assert house.spent == pytest.approx(1.0, abs=0.01)
    house.log.close()


def test_an_answer_without_a_limit_is_as_long_as_the_money_pays_for(tmp_path: Path) -> None:
    house = House(tmp_path, 2.0, Greedy())
    asyncio.run(house.ask(question()))
    (asked,) = house.source.asked
    assert 150 < (asked.max_tokens or 0) < 200
    assert house.spent <= 2.0
    house.log.close()


def test_it_is_not_cut_shorter_than_it_is_expected_to_be(tmp_path: Path) -> None:
    house = House(tmp_path, 0.09, Greedy())
    with pytest.raises(BudgetSpent, match="max_tokens"):
        asyncio.run(house.ask(question()))
    assert house.source.asked == []
    house.log.close()


def test_what_the_client_says_is_not_shortened(tmp_path: Path) -> None:
    house = House(tmp_path, 2.0, Greedy())
    with pytest.raises(BudgetSpent):
        asyncio.run(house.ask(question(max_tokens=500)))
    house.log.close()


def test_thinking_beyond_the_limit_is_laid_aside_too(tmp_path: Path) -> None:
    house = House(tmp_path, 2.0, Greedy(thinks=150))
    with pytest.raises(BudgetSpent):
        asyncio.run(house.ask(question(max_tokens=60)))
    asyncio.run(house.ask(question(max_tokens=40)))
    assert 1.8 < house.spent <= 2.0
    house.log.close()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(1, 120), st.none() | st.integers(10, 200), st.integers(1, 3)
        ),
        min_size=1,
        max_size=8,
    ),
    st.floats(0.05, 4.0),
    st.integers(0, 30),
)
def test_requests_at_one_moment_never_spend_more_than_there_is(
    tmp_path_factory: pytest.TempPathFactory,
    requests: list[tuple[int | None, int | None, int]],
    budget: float,
    thinks: int,
) -> None:
    house = House(tmp_path_factory.mktemp("house"), budget, Greedy(thinks))

    async def all_at_once() -> None:
        asked = [
            house.ask(question(number, max_tokens=named, n=n), most=most)
            for number, (named, most, n) in enumerate(requests)
        ]
        for problem in await asyncio.gather(*asked, return_exceptions=True):
            assert problem is None or isinstance(problem, BudgetSpent), problem

    asyncio.run(all_at_once())
    house.log.close()
    assert house.spent <= budget + 1e-6
    assert house.book.account("key:ann").held == pytest.approx(0, abs=1e-6)


@given(
    st.floats(0, 200),
    st.integers(0, 300),
    st.integers(1, 4),
    st.none() | st.integers(1, 10_000),
    st.integers(0, 500),
    st.integers(0, 100),
)
def test_within_the_money_fits_the_worst_case(
    left: float, least: int, n: int, most: int | None, begun: int, thinking: int
) -> None:
    partial = Partial(text="x" * begun, generated=begun) if begun else None
    most = None if most is None else most + begun
    request, offer = question(n=n, max_tokens=most, partial=partial), Greedy().offer
    found = within(request, offer, left, least=least, thinking=thinking)
    assert found.max_tokens is not None
    assert begun < found.max_tokens <= min(most or ENDLESS, USUAL_ANSWER + begun)
    worst = worst_case(found, offer, thinking)
    assert worst is not None
    shortest = found.max_tokens - begun <= max(-(-least // n), 1)
    assert worst <= left + 1e-6 or shortest
    assert within(request, offer, None, least=least) is request
