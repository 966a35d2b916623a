"""Counters and timers of one engine; rates are over the last seconds of work."""

import time
from collections import deque

from ai_assistant.protocol.frames import StepSample

WINDOW = 5.0
"""Seconds that the rates look back."""
SAMPLES = 16
"""Steps that a report tells of at most: the latest."""


class Rate:
    """Events per second of work over a window: idle time does not count."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int, float]] = deque()
        self._count = 0
        self._seconds = 0.0

    def add(self, now: float, count: int, seconds: float) -> None:
        """`count` events took `seconds`."""
        self._entries.append((now, count, seconds))
        self._count += count
        self._seconds += seconds
        while now - self._entries[0][0] > WINDOW:
            _, old_count, old_seconds = self._entries.popleft()
            self._count -= old_count
            self._seconds -= old_seconds

    @property
    def per_second(self) -> float:
        """0 before the first event."""
        return self._count / self._seconds if self._seconds > 1e-9 else 0.0


class Statistics:
    """What the engine counts."""

    def __init__(self) -> None:
        self.steps = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0
        self.prefill = Rate()
        self.decode = Rate()
        self._decode_steps: deque[tuple[float, float]] = deque(maxlen=512)
        self._samples: deque[StepSample] = deque(maxlen=SAMPLES)
        self._waited = False

    def step(self, *, prompt: int, generated: int, kernels: float, outside: float) -> None:
        """One step computed `prompt` prompt tokens and chose `generated` new ones; in seconds."""
        now = time.perf_counter()
        self.steps += 1
        self.generated_tokens += generated
        if prompt:
            self.prefill.add(now, prompt, kernels)
        else:
            self.decode.add(now, generated, kernels + outside)
            self._decode_steps.append((kernels, outside))

    def sample(self, tokens: int, depths: list[int], seconds: float, *, waited: bool) -> None:
        """A step of `tokens` behind so many in each sequence. `waited`: for an output; else a GPU
        may still compute, and the next step's time holds the rest of this one's."""
        if waited and self._waited and depths:
            depth = sum(depths) / len(depths)
            self._samples.append(StepSample(tokens, depth, len(depths), seconds))
        self._waited = waited

    def take_samples(self) -> list[StepSample]:
        """The latest steps, once."""
        found = list(self._samples)
        self._samples.clear()
        return found

    @property
    def decode_ms(self) -> float:
        """Mean milliseconds in the kernels over the latest decode-only steps."""
        return _mean([kernels for kernels, _ in self._decode_steps])

    @property
    def python_ms(self) -> float:
        """Mean milliseconds outside the kernels over the latest decode-only steps."""
        return _mean([outside for _, outside in self._decode_steps])


def _mean(seconds: list[float]) -> float:
    return 1000 * sum(seconds) / len(seconds) if seconds else 0.0
