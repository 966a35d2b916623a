"""What the streams of the highest class can spare for the other parts of a step."""

from ai_assistant.engine.allowance import Allowance, unloaded
from ai_assistant.engine.compose import Pace, Part, protected_streams


class Streams:
    """Their account, kept from step to step."""

    def __init__(self, pace: Pace, tpot_factor: float) -> None:
        self._pace = pace
        self._allowance = Allowance(tpot_factor)

    def passed(self, parts: list[Part], seconds: float, resident: int) -> None:
        """A step with these parts took so long, with so many cells in use. Called before they
        end."""
        streams = _protected(parts)
        priority = streams[0].sequence.request.priority if streams else None
        alone = self._unloaded(streams, parts, seconds, resident)
        self._allowance.passed(priority, alone, seconds)

    def bear(self, parts: list[Part]) -> bool:
        """Whether they can spare what the others' part costs."""
        streams = _protected(parts)
        alone = self._pace.seconds(len(streams))
        if not streams or len(streams) == len(parts) or alone is None:
            return True
        total = self._pace.seconds(sum(part.count for part in parts)) or alone
        return self._allowance.bears(streams[0].sequence.request.priority, total - alone)

    def _unloaded(
        self, streams: list[Part], parts: list[Part], seconds: float, resident: int
    ) -> float:
        """What a step would have taken if there was nothing but these streams."""
        tokens = sum(1 + len(part.draft) for part in streams)
        predicted = None if len(streams) == len(parts) else self._pace.seconds(tokens)
        own = sum(part.sequence.computed for part in streams)
        empty = self._pace.empty(tokens)
        return unloaded(predicted or seconds, empty, own, resident)


def _protected(parts: list[Part]) -> list[Part]:
    """The parts of the streams whose pace is kept."""
    single = [part for part in parts if part.count == 1]
    kept = protected_streams([part.sequence for part in single])
    return single[: len(kept)]
