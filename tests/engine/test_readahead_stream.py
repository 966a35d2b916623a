"""Weights that pass through memory: read ahead, dropped behind, never more than the window."""

import errno
import threading
import time
from collections.abc import Callable

import pytest

from ai_assistant.engine.readahead_order import Division, Span
from ai_assistant.engine.readahead_stream import CHUNK, PATIENCE, Pages, Stream

MB = 1 << 20


class Memory:
    """What is in memory, as real threads bring and drop it; `pause` is a slow disk."""

    def __init__(self, pause: float = 0.0, pause_of_first_drop: float = 0.0) -> None:
        self.pause = pause
        self.pause_of_first_drop = pause_of_first_drop
        self.present: set[int] = set()
        self.most = 0
        self._lock = threading.Lock()

    def bring(self, span: Span) -> None:
        time.sleep(self.pause)
        with self._lock:
            self.present |= set(range(span.start // MB, -(-span.end // MB)))
            self.most = max(self.most, len(self.present))

    def drop(self, span: Span) -> None:
        if not span.start:
            time.sleep(self.pause_of_first_drop)
        with self._lock:
            self.present -= set(range(span.start // MB, -(-span.end // MB)))

    def has(self, spans: tuple[Span, ...]) -> bool:
        with self._lock:
            return all(set(range(s.start // MB, -(-s.end // MB))) <= self.present for s in spans)


def division(layers: int, size: int, window: int) -> Division:
    """Layers of `size` MB each, all of it streamed."""
    spans = tuple((Span(n * size * MB, (n + 1) * size * MB),) for n in range(layers))
    return Division(kept=((),) * layers, streamed=spans, window=window * MB)


@pytest.mark.parametrize("pause", [0.0, 0.003])
def test_each_layer_is_there_when_it_is_reached_and_the_window_holds(pause: float) -> None:
    plan, memory = division(6, 20, window=50), Memory(pause)
    stream = Stream(plan, Pages(memory.bring, memory.drop))
    try:
        for _ in range(3):
            for layer in range(6):
                stream.reach(layer)
                assert memory.has(plan.streamed[layer])
                stream.leave(layer)
    finally:
        stream.close()
    assert memory.most <= 50


@pytest.mark.parametrize("pause_of_first_drop", [0.0, 0.2])
def test_the_next_round_is_read_before_it_begins(pause_of_first_drop: float) -> None:
    plan, memory = division(4, 10, window=25), Memory(0.0, pause_of_first_drop)
    stream = Stream(plan, Pages(memory.bring, memory.drop))
    try:
        for layer in range(4):
            stream.reach(layer)
            stream.leave(layer)
        first_two = plan.streamed[0] + plan.streamed[1]
        deadline = time.monotonic() + 5
        while not memory.has(first_two) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(pause_of_first_drop)
        assert memory.has(first_two)
    finally:
        stream.close()


def test_a_step_that_breaks_off_does_not_stop_the_next_one() -> None:
    plan, memory = division(5, 10, window=25), Memory()
    stream = Stream(plan, Pages(memory.bring, memory.drop))
    try:
        for layer in (0, 1, 2):
            stream.reach(layer)
            stream.leave(layer)
        for _ in range(2):
            for layer in range(5):
                stream.reach(layer)
                assert memory.has(plan.streamed[layer])
                stream.leave(layer)
    finally:
        stream.close()
    # A chunk that was on its way when the step broke off may stay behind, one for each reader.
    assert memory.most <= 25 + 3 * CHUNK // MB


def test_a_layer_larger_than_the_window_comes_all_the_same() -> None:
    plan, memory = division(3, 40, window=10), Memory()
    stream = Stream(plan, Pages(memory.bring, memory.drop))
    try:
        for layer in (0, 1, 2, 0, 1):
            stream.reach(layer)
            assert memory.has(plan.streamed[layer])
            stream.leave(layer)
    finally:
        stream.close()


def test_a_disk_that_fails_holds_no_step_up() -> None:
    plan, memory = division(4, 10, window=25), Memory()
    failing = iter([True] * 6)

    def fail_first(work: Callable[[Span], None]) -> Callable[[Span], None]:
        def doing(span: Span) -> None:
            if next(failing, False):
                raise OSError(errno.EIO, "the disk fails")
            work(span)

        return doing

    stream = Stream(plan, Pages(fail_first(memory.bring), fail_first(memory.drop)))
    begun = time.monotonic()
    try:
        for _ in range(3):
            for layer in range(4):
                stream.reach(layer)
                stream.leave(layer)
        stream.reach(0)
        assert memory.has(plan.streamed[0])
    finally:
        stream.close()
    assert time.monotonic() - begun < PATIENCE / 2


def test_a_step_does_not_wait_for_readers_that_have_ended() -> None:
    plan, memory = division(4, 10, window=25), Memory(0.0, 0.3)
    stream = Stream(plan, Pages(memory.bring, memory.drop))
    stream.reach(0)
    stream.leave(0)
    stream.close()
    begun = time.monotonic()
    stream.reach(0)
    stream.reach(2)
    assert time.monotonic() - begun < PATIENCE / 2
