"""Whether to lay a model out anew while it is in use: a pure decision, with patience.

A move pays when what it wins over the time to come is worth more than what everybody loses who
waits for it. Predictions err and loads swing, so the advantage must be clear, and last; after a
move there is rest, and after a failed one more of it each time.
"""

import msgspec

HORIZON = 600.0
"""Seconds to come in which the machine is taken to stay as it is."""
WORTH = 3.0
"""Times its cost that a move must win."""
CLEAR = 0.15
"""Share by which a turn must be quicker, beyond the predictions' own error."""
LASTS = 20.0
"""Seconds for which that must have been so."""
REST = 300.0
"""Seconds between two moves; doubled with each failure."""
MOST_FAILURES = 5
"""Failures after which the rest grows no longer."""


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """Another plan beside the present one, as predicted. Times in seconds."""

    now: float
    """A turn of the owner's workload by the present plan."""
    then: float
    """The same by the other one."""
    error: float
    """Share by which such predictions were wrong lately."""
    pause: float
    """What the streams stand still for the move."""
    streams: int
    """That run now."""
    turns: float
    """Turns per second that were asked for lately."""
    must: str = ""
    """Why the present plan cannot stay, such as memory that others need; empty: it can."""
    wanted: str = ""
    """What the other plan is good for besides speed, such as a longer context: then it needs no
    gain, only patience; empty: nothing."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered between two looks. Times by a steady clock, None: never."""

    better_since: float | None = None
    moved_at: float | None = None
    failures: int = 0
    """In a row."""

    def moved(self, now: float) -> "Past":
        """A move went well."""
        return Past(moved_at=now)

    def failed(self, now: float) -> "Past":
        """A move failed, and the old plan went on."""
        return Past(moved_at=now, failures=min(self.failures + 1, MOST_FAILURES))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do and why. Gain and cost in seconds of somebody's time."""

    move: bool
    reason: str
    gain: float
    cost: float


def worth_moving(prospect: Prospect, past: Past, now: float) -> tuple[Verdict, Past]:
    """The verdict, and what to remember until the next look."""
    gain, cost = _gain(prospect), prospect.pause * max(prospect.streams, 1)
    reason = _against(prospect, gain, cost)
    if reason and not prospect.must and not prospect.wanted:
        return _verdict(False, reason, gain, cost), msgspec.structs.replace(past, better_since=None)
    since = now if past.better_since is None else past.better_since
    past = msgspec.structs.replace(past, better_since=since)
    if wait := _waiting(prospect, past, now):
        return _verdict(False, wait, gain, cost), past
    won = f"{gain:.0f} s are won for {cost:.1f} s of waiting"
    why = prospect.must or (prospect.wanted if reason else won)
    return _verdict(True, why, gain, cost), past


def _gain(prospect: Prospect) -> float:
    """What the turns of the horizon take less, the predictions' error against us."""
    return HORIZON * prospect.turns * (prospect.now - prospect.then * (1 + prospect.error))


def _against(prospect: Prospect, gain: float, cost: float) -> str:
    least = prospect.then * (1 + prospect.error) * (1 + CLEAR)
    if prospect.now < least:
        return f"it is not clearly quicker ({prospect.then:.2f} s a turn, now {prospect.now:.2f} s)"
    if gain < WORTH * cost:
        return f"too little is asked: {gain:.0f} s would be won for {cost:.1f} s of waiting"
    return ""


def _waiting(prospect: Prospect, past: Past, now: float) -> str:
    """What is missing to a move that would pay."""
    rest = REST * 2**past.failures
    if past.moved_at is not None and now - past.moved_at < rest and not _hurries(prospect, past):
        return f"the last move was {now - past.moved_at:.0f} s ago"
    since = now if past.better_since is None else past.better_since
    if not prospect.must and now - since < LASTS:
        return "it has to last a while"
    return ""


def _hurries(prospect: Prospect, past: Past) -> bool:
    """Memory that others need does not wait, unless the move has just failed."""
    return bool(prospect.must) and not past.failures


def _verdict(move: bool, reason: str, gain: float, cost: float) -> Verdict:
    return Verdict(move=move, reason=reason, gain=gain, cost=cost)
