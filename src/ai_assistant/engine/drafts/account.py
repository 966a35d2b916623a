"""What a draft model may cost: a running account in seconds.

It earns a hundredth of the time in which tokens are written, pays for what it drafts, and is paid
for each right token what a step would have taken. Below zero nothing is drafted: so a draft model
that brings nothing costs a hundredth, and a few steps at the start. That hundredth buys trials of
one that seemed hopeless.
"""

SHARE = 0.01
"""Of the time."""
MOST_STEPS = 16
"""Steps of one token that the account holds at most, and begins with."""
PROVEN = 32
"""Drafted tokens that were looked at, after which what is expected of them is believed."""
LIKELY = 128
"""Tokens that an answer is expected to have still, if it may have so many."""


class Account:
    """One draft model's."""

    __slots__ = ("_step", "credit", "observed")

    def __init__(self) -> None:
        self._step = 0.0
        """Seconds of a step of one token."""
        self.credit: float | None = None
        """None before the first step."""
        self.observed = 0
        """Drafted tokens of which it is known whether they were right."""

    @property
    def _most(self) -> float:
        return MOST_STEPS * self._step

    def worked(self, step: float, seconds: float) -> None:
        """Tokens were written for so many seconds, where a step of one token takes `step`."""
        self._step = step
        credit = self._most if self.credit is None else self.credit
        self.credit = min(self._most, credit + SHARE * seconds)

    def spent(self, seconds: float) -> None:
        """On drafting, and on verifying it."""
        if self.credit is not None:
            self.credit -= seconds

    def gained(self, seconds: float) -> None:
        """By right tokens."""
        if self.credit is not None:
            self.credit = min(self._most, self.credit + seconds)

    @property
    def solvent(self) -> bool:
        """Whether anything may be drafted."""
        return self.credit is not None and self.credit > 0

    @property
    def full(self) -> bool:
        """Whether there is enough for a trial that is not expected to bring anything."""
        return self.solvent and self.credit is not None and self.credit >= 0.9 * self._most

    def affords(self, seconds: float) -> bool:
        """Whether it pays for this alone."""
        return self.credit is not None and seconds <= self.credit / 2

    def worth(self, seconds: float, gain: float, written: int, left: int) -> bool:
        """Whether to let a draft model read a sequence that it does not know, which takes
        `seconds`; then each of its tokens comes `gain` seconds sooner. `written` tokens are there,
        `left` may come: as many again are likely."""
        if self.affords(seconds):
            return True
        return self.observed >= PROVEN and gain * min(left, max(written, LIKELY)) > seconds
