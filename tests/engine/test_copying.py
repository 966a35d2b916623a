"""What a copy of cells costs, and how many runs of neighbours cells lie in."""

import pytest

from ai_assistant.engine.copying import Copying
from ai_assistant.kvcache.cache import KvCache

LAYERS = 32


def true_seconds(runs: int, tokens: int, *, transfer: float) -> float:
    return runs * 2 * LAYERS * transfer + tokens * 2e-7


@pytest.mark.parametrize("transfer", [1e-5, 5e-8])
def test_learns_what_transfers_and_tokens_cost(transfer: float) -> None:
    copying = Copying(LAYERS)
    for runs, tokens in [(1, 256), (200, 256), (2, 256), (90, 100)] * 10:
        copying.learn(runs, tokens, true_seconds(runs, tokens, transfer=transfer))
    for runs, tokens in [(1, 256), (256, 256), (5, 40)]:
        true = true_seconds(runs, tokens, transfer=transfer)
        assert copying.seconds(runs, tokens) == pytest.approx(true, rel=0.5)


def test_one_slow_copy_is_not_believed_for_ever() -> None:
    copying = Copying(LAYERS)
    copying.learn(1, 256, 1.0)
    for _ in range(100):
        copying.doubt()
    copying.learn(1, 256, 0.001)
    assert copying.seconds(1, 256) < 0.01
    copying.learn(1, 256, 1.0)
    assert copying.seconds(1, 256) < 0.02


def test_nothing_is_known_before_the_first_copy() -> None:
    assert Copying(LAYERS).seconds(256, 256) == 0


def test_prompts_lie_together_and_streams_side_by_side_do_not() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    one, two = cache.open(), cache.open()
    cache.extend(one, range(300))
    cache.extend(two, range(300, 500))
    assert (cache.runs(one, 0, 300), cache.runs(two, 0, 200)) == (1, 1)
    for token in range(50):
        cache.extend(one, [token])
        cache.extend(two, [token])
    assert cache.runs(one, 0, 300) == 1
    assert cache.runs(one, 300, 350) == 50
    assert cache.runs(two, 150, 250) == 51
    cache.shrink(two, 210)
    assert cache.runs(two, 0, 210) == 11


def test_one_stream_alone_stays_together() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    one = cache.open()
    for token in range(100):
        cache.extend(one, [token])
    assert cache.runs(one, 0, 100) == 1


def test_a_shared_beginning_lies_as_it_did() -> None:
    cache = KvCache(cells=4096, sequences=4, shares_prefixes=True)
    one, two = cache.open(), cache.open()
    for token in range(100):
        cache.extend(one, [token])
        cache.extend(two, [token])
    three = cache.open()
    cache.share(one, three, 50)
    cache.extend(three, range(30))
    assert cache.runs(three, 0, 50) == cache.runs(one, 0, 50) == 50
    assert cache.runs(three, 50, 80) == 1
