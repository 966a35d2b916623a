"""What it costs to take cells out of the context, learnt from every copy.

libllama copies a sequence's cells one run of neighbours at a time, for each layer's keys and
values.
In main memory a run costs next to nothing. From a GPU each is a transfer of its own, about ten
microseconds: the cells of streams that ran side by side lie one by one between each other, so that
300 tokens of 32 layers are 19,000 transfers and take longer than to compute them again.
"""

SMOOTH = 0.2
"""Weight of the newest measurement."""
SURPRISE = 3.0
"""A copy that took so many times what was known counts as so many: something else was busy."""
DOUBT = 0.95
"""What was learnt counts for so much after a copy was not made for its sake: it may be outdated."""
FEW_RUNS = 4
"""A copy of so few runs tells what bytes cost, one of more what runs cost."""


class Copying:
    """Predicts the seconds of a copy from its runs and tokens."""

    def __init__(self, layers: int) -> None:
        self._tensors = 2 * layers
        self._transfer = 0.0
        """Seconds for each run of each tensor."""
        self._token = 0.0
        """Seconds for each token."""

    def seconds(self, runs: int, tokens: int) -> float:
        """What a copy will take; too little until one was measured."""
        return runs * self._tensors * self._transfer + tokens * self._token

    def doubt(self) -> None:
        """A copy was not made because it would cost too much."""
        self._transfer *= DOUBT
        self._token *= DOUBT

    def learn(self, runs: int, tokens: int, seconds: float) -> None:
        """A copy took so long."""
        transfers = runs * self._tensors
        if runs <= FEW_RUNS:
            rest = max(seconds - transfers * self._transfer, 0.0)
            self._token = _smooth(self._token, rest / max(tokens, 1))
        else:
            rest = max(seconds - tokens * self._token, 0.0)
            self._transfer = _smooth(self._transfer, rest / transfers)


def _smooth(old: float, new: float) -> float:
    return old + SMOOTH * (min(new, SURPRISE * old) - old) if old else new
