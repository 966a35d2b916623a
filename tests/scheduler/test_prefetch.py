"""Which model is read ahead, and that it stops for whoever asks."""

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ai_assistant.protocol.status import ModelInfo, ModelStatus
from ai_assistant.scheduler.easing import Loaded
from ai_assistant.scheduler.prefetch import Candidate, Prefetcher, next_model

GB = 1 << 30
A, B, C = Candidate("a", GB), Candidate("b", GB), Candidate("c", 4 * GB)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that awaits."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def test_the_model_that_usually_follows_is_next() -> None:
    assert next_model(["a", "b", "a", "b", "c", "a"], [B, C], 8 * GB) == "b"


def test_of_equals_the_one_that_was_used_last() -> None:
    assert next_model(["b", "c", "a"], [B, C], 8 * GB) == "c"


def test_what_does_not_fit_or_was_never_asked_for_is_not_read() -> None:
    assert next_model(["b", "c", "a"], [B, C], 2 * GB) == "b"
    assert next_model(["a"], [B, C], 8 * GB) is None
    assert next_model([], [A], 8 * GB) is None


class One:
    """Two models, of which one is in memory; `in_use` says whether somebody uses it."""

    def __init__(self, folder: Path) -> None:
        self.in_use = 0
        self.turn = "first"
        self._folder = folder

    def models(self) -> list[ModelInfo]:
        return [
            ModelInfo(id=name, name=name, path=str(self._folder / name), size_bytes=1000,
                      architecture="llama", quantisation="F32", parameters=1, context_train=1)
            for name in ("first", "second")
        ]  # fmt: skip

    def loaded(self) -> list[Loaded]:
        return [Loaded(self.turn, self, self.in_use, 1.0, default=True)]  # type: ignore[arg-type]

    def status(self) -> ModelStatus:
        return ModelStatus(model=self.models()[0], state="ready")


@in_a_loop
async def test_a_pause_is_used_and_ends_with_the_next_request(tmp_path: Path) -> None:
    models, now = One(tmp_path), [0.0]
    slow = (sys.executable, "-c", "import time; time.sleep(60)")
    memory = 16 * GB, 8 * GB
    prefetcher = Prefetcher(
        models, lambda: memory, lambda _path: slow, quiet_seconds=10, clock=lambda: now[0]
    )
    models.turn = "second"
    await prefetcher.look()
    models.turn = "first"
    now[0] = 5
    await prefetcher.look()
    assert prefetcher.reading is None
    now[0] = 20
    await prefetcher.look()
    assert prefetcher.reading == "second"
    process = prefetcher._process
    assert process is not None
    models.in_use = 1
    await prefetcher.look()
    assert prefetcher.reading is None
    assert await asyncio.wait_for(process.wait(), 10) != 0


@in_a_loop
async def test_full_memory_is_left_alone(tmp_path: Path) -> None:
    models = One(tmp_path)
    prefetcher = Prefetcher(
        models, lambda: (16 * GB, GB), lambda _path: ("false",), quiet_seconds=0
    )
    models.turn = "second"
    await prefetcher.look()
    models.turn = "first"
    await prefetcher.look()
    assert prefetcher.reading is None
