"""How long a step takes, as a function of its tokens: learned from steps, followed as they change.

A bucket is a range of sizes; it keeps a mean size and a mean time, so that a line through buckets
is right between and beyond them. Plain lists: there are few buckets and numpy costs more.
"""

from bisect import bisect_left

BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
"""The largest size of each bucket, in tokens."""
MOST = 65_536
"""`tokens_within` never says more."""
GAIN, FAST_GAIN = 0.2, 0.5
"""The weight of a new step, and of one in less than `FAST` of its prediction: disturbances make
steps slower, never faster."""
FAST = 0.7
SHARE = 0.5
"""How much of one bucket's change the others follow until they are seen again."""
OUTLIER = 2.0
"""A step that takes so many times its prediction is an accident, unless it happens again."""
ACCIDENTS = 3
"""So many in a row are no accident."""
PRIOR_SLOPE = 0.5
"""One known size: a token more costs so much of a step of one token. Measured: 0.35."""
LEAST_SLOPE = 0.25
"""Beyond the largest known size, time grows by at least so much of its mean per token."""


class Curve:
    """Seconds by tokens for one thread count. Never falls as tokens grow."""

    def __init__(self) -> None:
        self._buckets: list[int] = []
        self._tokens: list[float] = []
        self._seconds: list[float] = []
        self._accidents: list[int] = []

    @property
    def known(self) -> bool:
        """Whether a step was seen."""
        return bool(self._tokens)

    def knows(self, tokens: int) -> bool:
        """Whether a step of about so many tokens was seen."""
        return bisect_left(BUCKETS, tokens) in self._buckets

    def copy(self) -> "Curve":
        """The same knowledge, to go its own way."""
        twin = Curve()
        twin._buckets, twin._tokens = self._buckets[:], self._tokens[:]
        twin._seconds, twin._accidents = self._seconds[:], self._accidents[:]
        return twin

    def observe(self, tokens: int, seconds: float) -> None:
        """A step of `tokens` took `seconds`."""
        bucket = bisect_left(BUCKETS, tokens)
        at = bisect_left(self._buckets, bucket)
        if at == len(self._buckets) or self._buckets[at] != bucket:
            self._insert(at, bucket, tokens, seconds)
        else:
            self._learn(at, tokens, seconds)
        self._straighten(at)

    def _insert(self, at: int, bucket: int, tokens: int, seconds: float) -> None:
        if self.known:
            self._follow(min(1.0, seconds / (self.seconds(tokens) or seconds)))
        self._buckets.insert(at, bucket)
        self._tokens.insert(at, tokens)
        self._seconds.insert(at, seconds)
        self._accidents.insert(at, 0)

    def _learn(self, at: int, tokens: int, seconds: float) -> None:
        expected = self._seconds[at]
        self._tokens[at] += GAIN * (tokens - self._tokens[at])
        if seconds <= OUTLIER * expected:
            self._accidents[at] = 0
            gain = FAST_GAIN if seconds < FAST * expected else GAIN
            change = 1 + gain * (seconds / expected - 1)
        else:
            self._accidents[at] += 1
            if self._accidents[at] < ACCIDENTS:
                return
            self._accidents[at] = 0
            change = seconds / expected
        self._follow(change)
        self._seconds[at] = expected * change

    def _follow(self, change: float) -> None:
        """One size takes `change` times its prediction: the others, in part."""
        factor = 1 + SHARE * (change - 1)
        self._seconds = [value * factor for value in self._seconds]

    def _straighten(self, at: int) -> None:
        """What was seen last is right: smaller steps take no longer, larger ones no less."""
        values = self._seconds
        latest = values[at]
        for left in range(at - 1, -1, -1):
            if values[left] <= latest:
                break
            values[left] = latest
        for right in range(at + 1, len(values)):
            if values[right] >= latest:
                break
            values[right] = latest

    def seconds(self, tokens: float) -> float | None:
        """The prediction; None before the first step."""
        sizes, times = self._tokens, self._seconds
        if not sizes:
            return None
        at = bisect_left(sizes, tokens)
        if at == len(sizes):
            return times[-1] + self._slope_above() * (tokens - sizes[-1])
        if at == 0:
            return self._below(tokens)
        left, right = sizes[at - 1], sizes[at]
        share = (tokens - left) / (right - left)
        return times[at - 1] + share * (times[at] - times[at - 1])

    def tokens_within(self, seconds: float) -> int:
        """The most tokens whose prediction is at most `seconds`; 0 if not even one or unknown."""
        if not self.known or (self.seconds(1) or 0.0) > seconds:
            return 0
        count = max(1, min(MOST, int(self._size_at(seconds))))
        # Rounding: the inverse may be one token off.
        while count < MOST and (self.seconds(count + 1) or 0.0) <= seconds:
            count += 1
        while count > 1 and (self.seconds(count) or 0.0) > seconds:
            count -= 1
        return count

    def _size_at(self, seconds: float) -> float:
        sizes, times = self._tokens, self._seconds
        if seconds >= times[-1]:
            return min(MOST, sizes[-1] + (seconds - times[-1]) / self._slope_above())
        if seconds < times[0]:
            return sizes[0] - (times[0] - seconds) / max(self._slope_below(), 1e-12)
        at = next(i for i, time in enumerate(times) if time > seconds)
        share = (seconds - times[at - 1]) / (times[at] - times[at - 1])
        return sizes[at - 1] + share * (sizes[at] - sizes[at - 1])

    def _slope_above(self) -> float:
        sizes, times = self._tokens, self._seconds
        if len(sizes) == 1:
            return self._prior_slope()
        line = (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
        return max(line, LEAST_SLOPE * times[-1] / sizes[-1])

    def _slope_below(self) -> float:
        """Towards one token: not steeper than through zero."""
        sizes, times = self._tokens, self._seconds
        if len(sizes) == 1:
            return self._prior_slope()
        line = (times[1] - times[0]) / (sizes[1] - sizes[0])
        return min(line, times[0] / sizes[0])

    def _prior_slope(self) -> float:
        size, time = self._tokens[0], self._seconds[0]
        return time * PRIOR_SLOPE / (1 - PRIOR_SLOPE + PRIOR_SLOPE * size)

    def _below(self, tokens: float) -> float:
        return self._seconds[0] - self._slope_below() * (self._tokens[0] - tokens)


class StepTimes:
    """Predictions for the thread counts in use; others keep what they learned.

    Single tokens and prompts may use different counts.
    """

    def __init__(self) -> None:
        self._curves: dict[tuple[int, int], Curve] = {}
        self._counts = (0, 0)
        self._now = self._curves[self._counts] = Curve()
        self._empty = Curve()

    def use(self, decode: int, prefill: int) -> None:
        """From the next step on these thread counts; a new pair starts with the last times."""
        counts = (decode, prefill)
        if counts == self._counts:
            return
        self._counts = counts
        if counts not in self._curves:
            self._curves[counts] = self._now.copy()
        self._now = self._curves[counts]

    def observe(self, tokens: int, seconds: float, disturbed: bool = False) -> None:
        """A step of `tokens` took `seconds`. A disturbed one (a probe, a first touch) teaches
        only where nothing is known."""
        if tokens > 0 and seconds > 0 and not (disturbed and self._now.knows(tokens)):
            self._now.observe(tokens, seconds)

    def were_empty(self) -> None:
        """All steps until now were over an empty context."""
        self._empty = self._now.copy()

    def empty(self, tokens: int) -> float | None:
        """The seconds of a step over an empty context, as they once were; None: never measured."""
        return self._empty.seconds(tokens)

    @property
    def known(self) -> bool:
        """Whether there is anything to predict from."""
        return self._now.known

    def seconds(self, tokens: int) -> float | None:
        """The predicted seconds of a step; None before the first one."""
        return self._now.seconds(tokens)

    def tokens_within(self, seconds: float) -> int:
        """The most tokens of a step that takes at most `seconds`; 0 if unknown or not even one."""
        return self._now.tokens_within(seconds)
