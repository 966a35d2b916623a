"""The warm tier: a budget that is kept, and the longest beginning found."""

from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.kvcache.warm import MAX_SEQUENCES, WarmStore


def tokens(*values: int) -> "array[int]":
    return array("i", values)


def state(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def test_longest_beginning_wins_and_the_last_token_is_left() -> None:
    store = WarmStore(1000, shares_prefixes=True)
    store.put(tokens(1, 2, 3, 9), state(10))
    store.put(tokens(1, 2, 3, 4, 5), state(10))
    found, length = store.match(tokens(1, 2, 3, 4, 5))
    assert found
    assert list(found.tokens) == [1, 2, 3, 4, 5]
    assert length == 4


def test_next_turn_replaces_its_own_beginning() -> None:
    store = WarmStore(1000, shares_prefixes=True)
    store.put(tokens(1, 2), state(10))
    store.put(tokens(1, 2, 3), state(20))
    assert len(store) == 1
    assert store.bytes == 20


def test_whole_states_keep_their_beginnings_and_match_only_whole() -> None:
    store = WarmStore(1000, shares_prefixes=False)
    store.put(tokens(1, 2), state(10))
    store.put(tokens(1, 2, 3, 4), state(20))
    assert len(store) == 2
    assert store.match(tokens(1, 2, 3, 9))[1] == 2


def test_tenants_do_not_see_each_other() -> None:
    store = WarmStore(1000, shares_prefixes=True)
    store.put(tokens(1, 2, 3), state(10), salt=b"alice")
    assert store.match(tokens(1, 2, 3), salt=b"bob") == (None, 0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 400)), max_size=200))
def test_budget_is_kept(puts: list[tuple[int, int]]) -> None:
    store = WarmStore(1000, shares_prefixes=True)
    for value, size in puts:
        store.put(tokens(value, value), state(size))
        store.check_integrity()
        assert len(store) <= MAX_SEQUENCES
