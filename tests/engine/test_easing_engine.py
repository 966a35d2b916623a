"""An engine that is told to do with less memory gives it back and goes on answering."""

from tests.engine.conftest import MakeBench

from ai_assistant.protocol.frames import Ease

LONG = "<|im_start|>user\n" + "The red fox sees a small house. " * 60 + "<|im_end|>\n"


def test_the_tier_in_ram_shrinks_and_the_answer_is_the_same(bench: MakeBench) -> None:
    one = bench()
    one.ask("first", LONG, max_tokens=8)
    one.run()
    warm = one.engine._residence.tiers.warm
    while one.engine._residence.room.evict():
        pass
    assert warm.bytes > 0
    one.orders.arrivals.put(Ease(0))
    one.ask("second", LONG, max_tokens=8)
    one.run()
    assert warm.bytes == 0
    assert one.collector.text("second") == one.collector.text("first")
    warm.check_integrity()


def test_what_is_pinned_stays(bench: MakeBench) -> None:
    one = bench()
    tokens = one.tokens(LONG)
    one.engine.warm_up([tokens])
    warm = one.engine._residence.tiers.warm
    held = warm.bytes
    assert held > 0
    warm.resize(0)
    assert warm.bytes == held
    warm.check_integrity()
