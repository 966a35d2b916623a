"""The cache's books: sharing, retaining and giving up, against a naive oracle."""

from array import array

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ai_assistant.kvcache.blocks import BLOCK, block_names, root_name
from ai_assistant.kvcache.cache import KvCache, Match
from ai_assistant.kvcache.ledger import CellLedger, OutOfCells


def tokens(*runs: tuple[int, int]) -> "array[int]":
    return array("i", [value for value, count in runs for _ in range(count)])


def filled(cache: KvCache, content: "array[int]", salt: bytes = b"") -> int:
    sequence = cache.open(salt)
    cache.extend(sequence, content)
    return sequence


def test_longest_beginning_is_found_across_block_borders() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    filled(cache, tokens((1, BLOCK), (2, 50)))
    long = filled(cache, tokens((1, BLOCK), (2, BLOCK), (3, 100)))
    assert cache.match(tokens((1, BLOCK), (2, BLOCK), (3, 40), (9, 9))) == Match(
        long, 2 * BLOCK + 40
    )


def test_short_beginning_is_found_without_a_full_block() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    sequence = filled(cache, tokens((1, 30), (2, 10)))
    assert cache.match(tokens((1, 30), (5, 10))) == Match(sequence, 30)


def test_last_token_is_always_left_to_compute() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    sequence = filled(cache, tokens((1, 40)))
    assert cache.match(tokens((1, 40))) == Match(sequence, 39)


def test_only_whole_sequences_are_continued_where_prefixes_cannot_be_shared() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=False)
    sequence = filled(cache, tokens((1, 40)))
    assert cache.match(tokens((1, 39), (2, 9))).length == 0
    assert cache.match(tokens((1, 40))).length == 0
    assert cache.match(tokens((1, 40), (2, 1))) == Match(sequence, 40)


def test_tenants_do_not_see_each_other() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    filled(cache, tokens((1, 600)), salt=b"alice")
    assert cache.match(tokens((1, 600)), salt=b"bob").length == 0
    assert cache.match(tokens((1, 600)), salt=b"alice").length == 599


def test_shared_cells_live_until_the_last_owner_goes() -> None:
    cache = KvCache(cells=1000, sequences=4, shares_prefixes=True)
    first = filled(cache, tokens((1, 300)))
    second = cache.open()
    cache.share(first, second, 280)
    assert cache.free_cells == 700
    cache.release(first)
    assert cache.free_cells == 720
    cache.release(second)
    assert cache.free_cells == 1000


def test_least_recently_used_goes_first() -> None:
    cache = KvCache(cells=1000, sequences=4, shares_prefixes=True)
    first, second = filled(cache, tokens((1, 10))), filled(cache, tokens((2, 10)))
    cache.retain(first)
    cache.retain(second)
    assert cache.victim() == first
    cache.share(first, cache.open(), 5)
    assert cache.victim() == second


def test_more_cells_than_are_free_changes_nothing() -> None:
    ledger = CellLedger(10)
    ledger.take(0, 8)
    with pytest.raises(OutOfCells):
        ledger.take(1, 3)
    assert ledger.free == 2
    ledger.check_integrity()


def test_equal_names_mean_equal_prefixes() -> None:
    same_block = tokens((7, BLOCK))
    one = list(block_names(root_name(b""), tokens((1, BLOCK)) + same_block))
    two = list(block_names(root_name(b""), tokens((2, BLOCK)) + same_block))
    assert one[1] != two[1]


class CacheMachine(RuleBasedStateMachine):
    """Random lives of sequences; the oracle is a dictionary of token lists."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = KvCache(cells=3000, sequences=6, shares_prefixes=True)
        self.content: dict[int, list[int]] = {}

    @precondition(lambda self: self.cache.free_ids)
    @rule()
    def open(self) -> None:
        self.content[self.cache.open()] = []

    @precondition(lambda self: self.content)
    @rule(data=st.data(), count=st.integers(1, 400), value=st.integers(0, 2))
    def extend(self, data: st.DataObject, count: int, value: int) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.content)))
        try:
            self.cache.extend(sequence, [value] * count)
        except OutOfCells:
            return
        self.content[sequence] += [value] * count

    @precondition(lambda self: self.cache.free_ids and any(self.content.values()))
    @rule(data=st.data(), asked=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400))))
    def share_what_matches(self, data: st.DataObject, asked: list[tuple[int, int]]) -> None:
        wanted = tokens(*asked)
        if len(wanted) < 2:
            return
        match = self.cache.match(wanted)
        common = max(_common(list(wanted), content) for content in self.content.values())
        assert match.length == min(common, len(wanted) - 1)
        if match.length:
            taker = self.cache.open()
            self.cache.share(match.holder, taker, match.length)
            self.content[taker] = list(wanted[: match.length])

    @precondition(lambda self: self.content)
    @rule(data=st.data(), keep=st.floats(0, 1))
    def shrink(self, data: st.DataObject, keep: float) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.content)))
        length = int(len(self.content[sequence]) * keep)
        self.cache.shrink(sequence, length)
        del self.content[sequence][length:]

    @precondition(lambda self: self.content)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.content)))
        self.cache.release(sequence)
        del self.content[sequence]

    @invariant()
    def books_agree(self) -> None:
        self.cache.check_integrity()
        for sequence, content in self.content.items():
            assert self.cache.length(sequence) == len(content)


def _common(a: list[int], b: list[int]) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
