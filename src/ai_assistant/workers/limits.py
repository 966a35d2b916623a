"""What an engine leaves alone: by the power mode, and while memory is short."""

from msgspec import structs

from ai_assistant.protocol.frames import Ease, Limit
from ai_assistant.protocol.power import Restraint
from ai_assistant.workers.lifecycle import Lifecycle
from ai_assistant.workers.line import Line


class Limits:
    """What holds now; an engine that starts again knows none of it."""

    def __init__(self, line: Line, lifecycle: Lifecycle) -> None:
        self._line = line
        self._lifecycle = lifecycle
        self._restraint = Restraint()
        self._eased_slots = 0

    def restrain(self, restraint: Restraint) -> None:
        """This from now on, by the power mode."""
        if restraint != self._restraint:
            self._restraint = restraint
            self._tell()

    def ease(self, warm_bytes: int, slots: int) -> None:
        """So much for the tier in RAM, and so many slots, from now on; 0 slots: as planned."""
        self._eased_slots = slots
        if self._line.process and self._lifecycle.ready:
            self._line.process.send(Ease(warm_bytes))
            self._tell()

    def begin_anew(self) -> None:
        """An engine has started, as planned."""
        self._eased_slots = 0
        self.pass_on()

    def pass_on(self) -> None:
        """To another engine, which goes on with what the first one did."""
        if self._restraint != Restraint():
            self._tell()

    def _tell(self) -> None:
        if self._line.process and self._lifecycle.ready:
            both = [one for one in (self._restraint.slots, self._eased_slots) if one]
            slots = min(both, default=0)
            self._line.process.send(Limit(structs.replace(self._restraint, slots=slots)))
