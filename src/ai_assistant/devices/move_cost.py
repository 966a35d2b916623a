"""What moves cost here: how long streams stood still, learned from those that were made."""

import msgspec
from msgspec import structs

from ai_assistant.protocol.moves import MoveResult

IN_PLACE, BESIDE = 0.2, 1.5
"""Seconds that are expected of the first moves."""
LOAD_RATE = 0.5e9
"""Bytes per second that are expected of the first load."""
TRUST = 0.5
"""How much of what is known a new observation takes the place of."""


class MoveCost(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of silence by the way that a move takes."""

    in_place: float = IN_PLACE
    beside: float = BESIDE
    instead: float | None = None

    def pause(self, way: str, size_bytes: int) -> float:
        """What the next one is expected to cost, of a model of that size."""
        if way == "in place":
            return self.in_place
        if way == "beside":
            return self.beside
        return self.instead if self.instead is not None else BESIDE + size_bytes / LOAD_RATE

    def learned(self, result: MoveResult, size_bytes: int) -> "MoveCost":
        """After one more. Where no stream ran, what they would have waited for counts."""
        quiet = result.seconds - (result.load_seconds if result.how == "beside" else 0.0)
        seen = result.paused_seconds if result.sequences else max(quiet, 0.0)
        name = result.how.replace(" ", "_")
        if name not in self.__struct_fields__:
            return self
        known = self.pause(result.how, size_bytes)
        return structs.replace(self, **{name: known + TRUST * (seen - known)})
