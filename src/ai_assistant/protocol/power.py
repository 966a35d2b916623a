"""How much of the machine engines may use, and what the node says of power and heat."""

from typing import Literal

import msgspec


class Restraint(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine should leave alone; the defaults: nothing."""

    threads: int = 0
    """At most; 0: as planned."""
    slots: int = 0
    """Sequences that run at once, at most; 0: as planned."""
    speculation: bool = True
    """Guesses that turn out wrong cost energy."""
    work: float = 1.0
    """Share of the time that it may compute, from 0.1 to 1: it rests after each step."""


class PowerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Power and heat of a node, as they are now. What no sensor tells is None."""

    mode: str = "max"
    """`max`, `balanced`, `quiet` or such as `45 W`."""
    restraint: Restraint = Restraint()
    """What the engines were told."""
    slowed_by: Literal["", "heat", "power"] = ""
    """Why the engines do less than the mode alone would have them do."""
    temperature: float | None = None
    """Of the hottest part, in degrees; read only where there is a ceiling."""
    ceiling: float | None = None
    """Degrees above which work slows down; None: nobody set one."""
    watts: float | None = None
    """Of what the sensors cover, over the latest interval."""
    joules: float | None = None
    """The same, since the node started."""
    joules_per_token: float | None = None
    """While tokens were written, of the last minutes: all of that energy over those tokens."""
    sensors: tuple[str, ...] = ()
    """What tells the energy."""
    settings: tuple[str, ...] = ()
    """Settings of the system that hold as long as the node runs: `PATH = VALUE`."""
    refused: tuple[str, ...] = ()
    """Commands for settings that this user may not make."""
