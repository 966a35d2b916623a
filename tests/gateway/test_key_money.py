"""Money: laid aside before, settled after, and never more than the budget, whatever dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.scripted_source import Line, ScriptedSource

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.keeper import Keeper
from ai_assistant.gateway.access.purse import NodePurse
from ai_assistant.gateway.keys import Caller
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import AssistantError, BudgetSpent, ProviderFailed, Unavailable
from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest
from ai_assistant.scheduler.spending import spending, worst_case
from ai_assistant.store.key_usage import KeyUsage, read_usage
from ai_assistant.store.keys import Limits

DAY = 86_400.0
DEAR = Price(input=1_000_000.0, output=1_000_000.0)
"""A dollar a token."""


def caller(**limits: float) -> Caller:
    return Caller(tenant="ann", name="ann", limits=Limits(**limits))  # type: ignore[arg-type]


class Clock:
    """Both clocks of a node."""

    def __init__(self) -> None:
        self.now = time.mktime((2026, 11, 15, 12, 0, 0, 0, 0, -1))

    def __call__(self) -> float:
        return self.now


def accounts(clock: Clock) -> Accounts:
    return Accounts(steady=clock, wall=clock)


def request(max_tokens: int = 10, text: str = "hello") -> GenerateRequest:
    prompt = ChatPrompt(messages=(ChatMessage(role="user", content=text),))
    return GenerateRequest(
        request_id="r", model="m", prompt=prompt, max_tokens=max_tokens, tenant="ann"
    )


class Dear(ScriptedSource):
    """One that costs a dollar a token."""

    def __init__(self, *script: Line, price: Price | None = DEAR) -> None:
        super().__init__("dear", script)
        from msgspec import structs

        self._offer = structs.replace(self._offer, price=price)


def spend(book: Accounts, source: Dear, asked: GenerateRequest, stop_after: int = 99) -> None:
    """One request as the relay makes it."""

    async def ask() -> None:
        purse = NodePurse(book, None)
        async with spending(purse, asked.tenant, asked, source) as meter:
            pieces = source.generate(asked)
            try:
                async for chunk in pieces:
                    meter.note(chunk)
                    stop_after_now = len(source.asked) and stop_after <= 1
                    if stop_after_now:
                        return
            finally:
                await pieces.aclose()

    asyncio.run(ask())


def answered(tokens: int) -> TokenChunk:
    return TokenChunk(
        text="x", finish="stop", usage=Usage(prompt_tokens=3, completion_tokens=tokens)
    )


def spent(book: Accounts) -> float:
    return book.account("key:ann").spent(book.now().day)[0]


def test_what_it_came_to_is_spent_and_the_rest_is_free_again() -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=200), 1).close()
    spend(book, Dear(answered(4)), request())
    assert spent(book) == pytest.approx(7)
    assert book.account("key:ann").held == pytest.approx(0)


def test_a_request_that_could_cost_more_than_is_left_reaches_nobody() -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=50), 1).close()
    source = Dear(answered(4))
    with pytest.raises(BudgetSpent, match=r"\$50 a day") as refused:
        spend(book, source, request(max_tokens=60))
    assert source.asked == []
    assert refused.value.retry_after == pytest.approx(DAY / 2)
    assert refused.value.elsewhere, "a worker that costs nothing may still answer"


def test_without_a_price_nobody_with_a_budget_is_let_through() -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=50), 1).close()
    with pytest.raises(BudgetSpent, match="nobody knows what this model costs"):
        spend(book, Dear(answered(1), price=None), request())
    book.admit(caller(), 1).close()
    spend(book, Dear(answered(1), price=None), request())


def test_a_free_worker_asks_no_purse() -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=0), 1).close()
    spend(book, Dear(answered(5), price=Price(input=0, output=0)), request())
    assert spent(book) == 0


@pytest.mark.parametrize(("script", "dollars"), [
    ([ProviderFailed("no")], 0),
    ([TokenChunk(text="x"), ProviderFailed("broke")], 10),
])  # fmt: skip
def test_what_broke_off_is_paid_as_far_as_it_came(script: list[Line], dollars: float) -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=200), 1).close()
    with pytest.raises(ProviderFailed):
        spend(book, Dear(*script), request())
    assert (spent(book) > dollars) == bool(dollars)
    assert book.account("key:ann").held == pytest.approx(0)


def test_a_client_that_leaves_pays_for_what_was_computed() -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=200), 1).close()
    spend(book, Dear(TokenChunk(text="x"), answered(4)), request(), stop_after=1)
    assert 1 < spent(book) < 60
    assert book.account("key:ann").held == pytest.approx(0)


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1), st.booleans()), max_size=40))
def test_whatever_is_under_way_at_once_never_more_is_spent_than_the_budget(
    requests: list[tuple[int, float, bool]],
) -> None:
    book = accounts(Clock())
    book.admit(caller(dollars_per_day=100), 1).close()
    under_way: list[tuple[Any, float]] = []
    for size, share, ends in requests:
        try:
            under_way.append((book.hold("ann", size), size * share))
        except BudgetSpent:
            assert spent(book) + book.account("key:ann").held + size > 100
        if ends and under_way:
            held, dollars = under_way.pop(0)
            held.settle(dollars)
            held.settle(99.0)  # only the first counts
    for held, dollars in under_way:
        held.settle(dollars)
    assert spent(book) <= 100 + 1e-6
    assert book.account("key:ann").held == pytest.approx(0, abs=1e-6)


def test_a_day_ends_and_a_month_goes_on() -> None:
    clock = Clock()
    book = accounts(clock)
    book.admit(caller(dollars_per_day=10, dollars_per_month=15), 1).close()
    book.hold("ann", 10.0).settle(10.0)
    with pytest.raises(BudgetSpent, match="day"):
        book.check("ann", 1.0)
    clock.now += DAY
    book.check("ann", 5.0)
    with pytest.raises(BudgetSpent, match="month"):
        book.check("ann", 6.0)
    clock.now += 30 * DAY
    book.check("ann", 10.0)


def test_a_clock_that_is_set_back_gives_no_second_day() -> None:
    clock = Clock()
    book = accounts(clock)
    book.admit(caller(dollars_per_day=10), 1).close()
    book.hold("ann", 10.0).settle(10.0)
    clock.now -= 3 * DAY
    with pytest.raises(BudgetSpent):
        book.check("ann", 1.0)


# On disk.


def kept(folder: Path, clock: Clock, work: Callable[[Accounts, NodePurse], Any],
         node: str = "one") -> Accounts:  # fmt: skip
    """A process's life; `work` in the middle of it, the end in order."""

    async def live() -> Accounts:
        book = accounts(clock)
        keeper = Keeper(book, folder / "usage.db", node)
        keeper.open()
        running = asyncio.create_task(keeper.run())
        try:
            await work(book, NodePurse(book, keeper))
        finally:
            running.cancel()
            await asyncio.wait([running])
            await keeper.close()
        return book

    return asyncio.run(live())


def test_a_new_process_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    clock = Clock()
    limits = caller(requests_per_minute=60, tokens_per_minute=1800, dollars_per_day=10)

    async def use(book: Accounts, purse: NodePurse) -> None:
        for answer in [10] * 59 + [3010]:
            lease = book.admit(limits, 10)
            lease.count(20, answer, cached=0, expected=10)
            lease.close()
        (await purse.hold("ann", 9.0)).settle(8.0)

    kept(tmp_path, clock, use)
    clock.now += 0.5
    assert os.name != "posix" or (tmp_path / "usage.db").stat().st_mode & 0o77 == 0

    async def go_on(book: Accounts, purse: NodePurse) -> None:
        with pytest.raises(Unavailable, match="requests a minute"):
            book.admit(limits, 10)
        clock.now += 60
        with pytest.raises(Unavailable, match="tokens a minute"):
            book.admit(limits, 10)
        clock.now += 120
        book.admit(limits, 10).close()
        with pytest.raises(BudgetSpent):
            await purse.hold("ann", 2.5)
        (await purse.hold("ann", 2.0)).settle(1.0)

    kept(tmp_path, clock, go_on, "two")
    (day,) = read_usage(tmp_path / "usage.db", "2026-11-01")
    assert (day.requests, day.prompt_tokens, day.completion_tokens) == (61, 1200, 3600)
    assert day.dollars == pytest.approx(9.0)


def test_money_is_on_disk_before_it_is_spent_and_counts_if_nobody_settles(tmp_path: Path) -> None:
    clock = Clock()
    limits = caller(dollars_per_day=10)

    async def hold(book: Accounts, purse: NodePurse) -> None:
        book.admit(limits, 1)
        await purse.hold("ann", 6.0)  # ... and the process is gone.

    kept(tmp_path, clock, hold)

    async def after(book: Accounts, purse: NodePurse) -> None:
        book.admit(limits, 1)
        with pytest.raises(BudgetSpent):
            await purse.hold("ann", 5.0)
        (await purse.hold("ann", 4.0)).settle(1.0)

    kept(tmp_path, clock, after, "two")
    kept(tmp_path, clock, lambda _book, _purse: asyncio.sleep(0), "three")
    (day,) = read_usage(tmp_path / "usage.db", "2026-11-01")
    assert day.dollars == pytest.approx(7.0)


def test_where_it_cannot_be_written_nothing_is_spent(tmp_path: Path) -> None:
    clock = Clock()

    async def hold(book: Accounts, purse: NodePurse) -> None:
        book.admit(caller(dollars_per_day=10), 1)
        (tmp_path / "usage.db").mkdir()
        with pytest.raises(Unavailable, match="cannot be written down"):
            await purse.hold("ann", 1.0)
        assert book.account("key:ann").held == 0
        book.admit(caller(), 1)
        await purse.hold("ann", 1.0)  # Nothing is limited: nothing waits for the disk.

    kept(tmp_path, clock, hold)


def test_an_error_that_nobody_thought_of_reaches_whoever_waits_and_the_next(tmp_path: Path) -> None:
    clock = Clock()

    async def hold(book: Accounts, purse: NodePurse) -> None:
        book.admit(caller(dollars_per_day=10), 1).count(1 << 70, 1, cached=0, expected=1)
        for _ in range(2):  # No file holds such a number.
            with pytest.raises(Unavailable, match="cannot be written down"):
                await asyncio.wait_for(purse.hold("ann", 1.0), 5)
        assert book.account("key:ann").held == 0

    kept(tmp_path, clock, hold)


KILLED = """
import asyncio, sys
from pathlib import Path
from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.keeper import Keeper
from ai_assistant.gateway.access.purse import NodePurse
from ai_assistant.gateway.keys import Caller
from ai_assistant.store.keys import Limits

async def live():
    book = Accounts()
    keeper = Keeper(book, Path(sys.argv[1]), sys.argv[2])
    keeper.open()
    asyncio.create_task(keeper.run())
    purse = NodePurse(book, keeper)
    book.admit(Caller(tenant="ann", limits=Limits(dollars_per_day=1000.0)), 1)
    while True:
        held = await purse.hold("ann", 1.0)
        print("spent", flush=True)  # From here on the provider may have the request.
        held.settle(0.5)

asyncio.run(live())
"""


def test_killed_at_any_moment_no_spent_money_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    spent = 0
    for round_number in range(3):
        command = [sys.executable, "-c", KILLED, str(path), f"node{round_number}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for _ in range(5 + 7 * round_number):
                assert process.stdout.readline() == "spent\n"
            process.send_signal(signal.SIGKILL)
            spent += 5 + 7 * round_number + len(process.stdout.readlines())
    KeyUsage(path, "last").close()
    (day,) = read_usage(path, "2000-01-01")
    assert 0.5 * spent <= day.dollars <= 0.5 * spent + 3 * 1.0, "at most what was in flight more"


@settings(max_examples=30)
@given(st.text(max_size=200), st.integers(1, 500), st.integers(1, 3))
def test_the_worst_case_is_never_less_than_what_it_can_cost(text: str, most: int, n: int) -> None:
    from msgspec import structs

    asked = structs.replace(request(most, text), n=n)
    usage = Usage(
        prompt_tokens=len(text.encode("utf-8", "replace")) + 1, completion_tokens=most * n
    )
    worst = worst_case(asked, Dear().offer)
    assert worst is not None
    assert worst >= DEAR.of(usage)


def test_every_refusal_is_an_error_of_the_tree() -> None:
    assert issubclass(BudgetSpent, AssistantError)
