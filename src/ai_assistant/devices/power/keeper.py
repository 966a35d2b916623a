"""Keeps a node within its power mode: reads sensors, tells the engines, sets the system.

Nothing here waits: `tick` is called now and then, in a thread, by whoever has the loop.
"""

import logging
import threading
from collections.abc import Callable

import msgspec

from ai_assistant.devices.apply import Outcomes, apply, by_hand, failures, plan_steps, restore
from ai_assistant.devices.apply_journal import DamagedJournal, Journal, is_held
from ai_assistant.devices.apply_port import Machine
from ai_assistant.devices.power.heat import hottest, of_chips
from ai_assistant.devices.power.levers import levers
from ai_assistant.devices.power.meter import Meter, PerToken, Reading, usable
from ai_assistant.devices.power.modes import Mode, ceiling_of, ladder, read_mode, restraint_of
from ai_assistant.devices.power.settings import PowerSettings
from ai_assistant.devices.power.throttle import Readings, Throttle
from ai_assistant.devices.probe.power import read_power
from ai_assistant.protocol.errors import AssistantError, InvalidRequest
from ai_assistant.protocol.power import PowerStatus, Restraint

log = logging.getLogger(__name__)

WORKING, IDLE = 1.0, 5.0
"""Seconds between two looks at the sensors."""


class Keeper:
    """One node's power. The calls may come from several threads."""

    def __init__(
        self,
        machine: Machine,
        journal: Journal,
        settings: PowerSettings,
        *,
        cores: int,
        saturating: int = 0,
    ) -> None:
        """`saturating`: threads that read memory as fast as all do, if that was measured."""
        self._machine = machine
        self._journal = journal
        self._settings = settings
        self._cores, self._saturating = cores, saturating
        self._lock = threading.Lock()
        self._closed = False
        cards = machine.cards()
        power = read_power(machine, cards)
        self._on_gpu = bool(cards)
        self._hot = tuple(one for one in of_chips(power) if one.value is not None)
        self._meter = Meter(machine, usable(power))
        self._per_token = PerToken()
        self._tokens = 0
        self._read_at: float | None = None
        self._told = PowerStatus(sensors=self._meter.names)
        self._use(Mode(kind="max"))

    @property
    def interval(self) -> float | None:
        """Seconds until the next `tick` is due; None: there is nothing to watch."""
        watched = self._meter.names or self._ceiling is not None
        return None if not watched else WORKING if self._working else IDLE

    @property
    def restraint(self) -> Restraint:
        """What the engines are to leave alone now."""
        return self._ladder[min(self._throttle.level, len(self._ladder) - 1)]

    def start(self) -> None:
        """Put back what a node left that died, then take the mode of the settings. A mode that
        this machine cannot keep is told in the log, and is `max`."""
        self._undo()
        try:
            self.set_mode(self._settings.mode)
        except AssistantError as error:
            log.warning("The power mode %s is not used: %s", self._settings.mode, error.message)

    def set_mode(self, text: str) -> None:
        """Use another mode from now on. Raises `InvalidRequest` and keeps the old one."""
        mode = read_mode(text)
        with self._lock:
            self._refuse_what_nobody_can_keep(mode)
            self._use(mode)
            self._set_system(mode)
            self._told = msgspec.structs.replace(
                self._told,
                mode=str(mode),
                restraint=self.restraint,
                ceiling=self._ceiling,
                temperature=None,
                slowed_by="",
            )

    def tick(self, now: float, tokens: int) -> Restraint:
        """Look at the sensors at `now`, by a steady clock; `tokens` were written so far, by all
        engines together. What the engines are to leave alone from now on."""
        with self._lock:
            written, self._tokens = max(0, tokens - self._tokens), tokens
            self._working = written > 0
            energy = self._meter.read(now)
            self._count(energy, now, written)
            heat = None if self._ceiling is None else hottest(self._machine, self._hot)
            readings = Readings(
                temperature=heat,
                ceiling=self._ceiling,
                watts=energy.watts if energy else None,
                wanted=self._mode.watts,
                working=self._working,
            )
            self._throttle = self._throttle.follow(readings, now, len(self._ladder) - 1)
            self._tell(readings, energy)
            return self.restraint

    def status(self) -> PowerStatus:
        """As it is now."""
        return self._told

    def close(self) -> None:
        """Put the system back as it was; from now on it stays so."""
        with self._lock:
            self._closed = True
            self._undo()

    def _use(self, mode: Mode) -> None:
        self._mode = mode
        restraint = restraint_of(mode, self._cores, saturating=self._saturating)
        self._ladder = ladder(restraint, self._cores, on_gpu=self._on_gpu)
        self._ceiling = ceiling_of(mode, self._settings.ceiling) if self._hot else None
        self._throttle = Throttle()
        self._working = True

    def _refuse_what_nobody_can_keep(self, mode: Mode) -> None:
        if mode.watts is None or self._meter.names:
            return
        if self._settings.change_system and levers(self._machine, mode, self._machine.cards()):
            return
        raise InvalidRequest(
            "No sensor tells the power of this machine to this user, so a number of watts cannot "
            "be kept. Counters of the processor (RAPL) are for root alone on most systems. "
            "Use balanced or quiet.",
            param="mode",
        )

    def _count(self, energy: Reading | None, now: float, written: int) -> None:
        seconds = 0.0 if self._read_at is None else now - self._read_at
        self._read_at = now
        # The first look after a pause tells of the pause too.
        if energy and energy.watts is not None and seconds <= 2 * WORKING:
            self._per_token.add(seconds, energy.watts * seconds, written)

    def _tell(self, readings: Readings, energy: Reading | None) -> None:
        slowed = bool(self._throttle.level)
        self._told = msgspec.structs.replace(
            self._told,
            restraint=self.restraint,
            slowed_by="" if not slowed else "heat" if self._throttle.by_heat else "power",
            temperature=readings.temperature,
            watts=energy.watts if energy else None,
            joules=energy.joules if energy else None,
            joules_per_token=self._per_token.value,
        )

    # The system.

    def _set_system(self, mode: Mode) -> None:
        """Back to how it was, and from there to what the mode asks for."""
        self._undo()
        if not self._settings.change_system or self._closed or not self._is_free():
            return
        steps = plan_steps(self._machine, levers(self._machine, mode, self._machine.cards()))
        done = self._safely(lambda: apply(self._machine, steps, self._journal, held=True))
        self._told = msgspec.structs.replace(
            self._told,
            settings=tuple(f"{one.step.path} = {one.step.after}" for one in done if one.ok),
            refused=tuple(by_hand(one.step) for one in failures(done)),
        )

    def _undo(self) -> None:
        if self._is_free():
            for one in failures(self._safely(lambda: restore(self._machine, self._journal))):
                log.warning("%s was not put back: %s", one.step.path, one.reason)
        self._told = msgspec.structs.replace(self._told, settings=(), refused=())

    def _is_free(self) -> bool:
        """Whether no other living node has set the system."""
        try:
            entry = self._journal.read()
        except (OSError, DamagedJournal):
            return True
        return entry is None or not is_held(entry)

    def _safely(self, work: Callable[[], Outcomes]) -> Outcomes:
        try:
            return work()
        except DamagedJournal as error:
            log.warning("%s is damaged; settings of the system are left as they are.", error)
        except OSError as error:
            log.warning("Settings of the system are left as they are: %s", error)
        return ()
