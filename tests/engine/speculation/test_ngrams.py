"""What followed: remembered, bounded, and each tenant's own."""

import random
import tracemalloc
from array import array

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.speculation.ngrams import CONTEXT, ENTRIES, History
from ai_assistant.engine.speculation.tenants import Tenants

FORM = array("i", range(100, 160))


def answer(tenants: Tenants, name: str) -> None:
    """A request of this tenant is answered with the form."""
    tokens = array("i")
    drafter = tenants.drafter(name, tokens)
    tokens.extend(FORM)
    drafter.finish()


@given(st.lists(st.integers(0, 2), max_size=80), st.lists(st.integers(0, 2), max_size=6))
def test_next_is_what_followed_the_last_time(text: list[int], context: list[int]) -> None:
    history = History()
    history.add(array("i", text))
    found = [
        text[place + CONTEXT]
        for place in range(len(text) - CONTEXT)
        if text[place : place + CONTEXT] == context
    ]
    assert history.next(array("i", context)) == (found[-1] if found else None)


def test_a_known_form_is_followed_to_its_end() -> None:
    history = History()
    history.add(FORM)
    assert history.following(FORM[10 : 10 + CONTEXT], 20) == FORM[10 + CONTEXT : 30 + CONTEXT]
    assert history.following(FORM[-8:-4], 20) == FORM[-4:]
    assert not history.following(array("i", [1, 2, 3, 4]), 20)


def test_what_was_used_least_recently_makes_room() -> None:
    history = History(entries=10)
    history.add(FORM[: CONTEXT + 10])
    assert history.next(FORM[:CONTEXT]) == FORM[CONTEXT]
    history.add(array("i", range(CONTEXT + 9)))
    assert len(history) == 10
    assert history.next(FORM[:CONTEXT]) == FORM[CONTEXT]
    assert history.next(FORM[1 : CONTEXT + 1]) is None


def test_memory_is_bounded() -> None:
    history = History()
    numbers = random.Random(1)
    tracemalloc.start()
    for _ in range(20):
        history.add(array("i", numbers.choices(range(200_000), k=4_000)))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(history) == ENTRIES
    assert used < ENTRIES * 300


def test_nothing_crosses_tenants() -> None:
    tenants = Tenants()
    answer(tenants, "a")
    beginning = FORM[: 2 * CONTEXT]
    assert tenants.drafter("a", beginning).candidates(8).tokens == FORM[8:16]
    assert not tenants.drafter("b", beginning).candidates(8).tokens
    assert not tenants.drafter("", beginning).candidates(8).tokens


def test_the_tenant_that_was_away_longest_is_forgotten() -> None:
    tenants = Tenants(tenants=2, entries=20)
    for name in ("a", "b", "a", "c"):
        answer(tenants, name)
        assert len(tenants) <= 2
        assert tenants.entries <= 40
    assert tenants.drafter("a", FORM[-8:-2]).candidates(2).tokens == FORM[-2:]
    assert not tenants.drafter("b", FORM[-8:-2]).candidates(2).tokens


def test_a_drafter_outlives_its_forgotten_tenant() -> None:
    tenants = Tenants(tenants=1)
    drafter = tenants.drafter("a", FORM[:])
    tenants.drafter("b", FORM[:])
    drafter.candidates(4)
    drafter.finish()
    assert tenants.entries == 0
