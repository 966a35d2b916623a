"""What one key, user or team has used, and whether it may have more."""

from ai_assistant.gateway.access.bucket import Bucket, FullBucket
from ai_assistant.gateway.access.calendar import month_of
from ai_assistant.store.key_usage import Used

CENT = 1e-9
"""Sums of money that differ by less are the same: they are sums of rounded numbers."""


class Day:
    """What came to one day since it was last written."""

    def __init__(self) -> None:
        self.requests = self.prompt_tokens = self.completion_tokens = self.refused = 0
        self.dollars = 0.0


class Account:
    """Counters of one of them; everything is decided outside. `now` is of a clock that never
    goes back, a day is as 2026-11-22."""

    def __init__(self, name: str) -> None:
        self.name = name
        """`key:alice`, `user:alice`, `team:research`."""
        self.requests: Bucket = FullBucket()
        self.tokens: Bucket = FullBucket()
        self.running = 0
        self.held = 0.0
        """Dollars laid aside for what is under way."""
        self.total = Day()
        """Since this process began, for the figures."""
        self.unwritten: dict[str, Day] = {}
        self.unwritten_held: dict[str, float] = {}
        self.touched = False
        """The buckets changed since they were last written."""
        self._day = ""
        self._today = 0.0
        self._month = 0.0

    # Money.

    def spent(self, day: str) -> tuple[float, float]:
        """Dollars of that day and of its month; the clock set back does not give them again."""
        if day > self._day:
            if month_of(day) != month_of(self._day):
                self._month = 0.0
            self._day, self._today = day, 0.0
        return self._today, self._month

    def hold(self, dollars: float, day: str) -> None:
        """Lay aside; a negative amount comes free."""
        self.held += dollars
        self.unwritten_held[day] = self.unwritten_held.get(day, 0.0) + dollars

    def spend(self, dollars: float, day: str) -> None:
        """It was spent on that day."""
        self.remember(dollars, day)
        self.total.dollars += dollars
        self._unwritten(day).dollars += dollars

    def remember(self, dollars: float, day: str) -> None:
        """It was spent on that day and is written already."""
        self.spent(day)
        if day == self._day:
            self._today += dollars
        if month_of(day) == month_of(self._day):
            self._month += dollars

    # Counts.

    def count_request(self, day: str) -> None:
        """One more was let in."""
        self.total.requests += 1
        self._unwritten(day).requests += 1
        self.touched = True

    def count_refused(self, day: str) -> None:
        """One more was told to come again."""
        self.total.refused += 1
        self._unwritten(day).refused += 1

    def count_tokens(self, prompt: int, completion: int, day: str) -> None:
        """An answer took so many."""
        for one in (self.total, self._unwritten(day)):
            one.prompt_tokens += prompt
            one.completion_tokens += completion
        self.touched = True

    # On disk.

    def take_used(self) -> list[Used]:
        """What is to be written; whoever fails to write it gives it back to `put_back`."""
        found = [
            Used(
                account=self.name,
                day=day,
                requests=one.requests,
                prompt_tokens=one.prompt_tokens,
                completion_tokens=one.completion_tokens,
                refused=one.refused,
                dollars=one.dollars,
            )
            for day, one in self.unwritten.items()
        ]
        self.unwritten = {}
        return found

    def put_back(self, used: Used) -> None:
        """It was not written."""
        day = self._unwritten(used.day)
        day.requests += used.requests
        day.prompt_tokens += used.prompt_tokens
        day.completion_tokens += used.completion_tokens
        day.refused += used.refused
        day.dollars += used.dollars

    def _unwritten(self, day: str) -> Day:
        found = self.unwritten.get(day)
        if found is None:
            found = self.unwritten[day] = Day()
        return found
