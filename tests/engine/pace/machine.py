"""A machine that exists only in arithmetic: cores, other programs, barriers that wait."""

import random
from collections.abc import Callable

from ai_assistant.engine.pace import LoadSample, ThreadController

SLICE = 0.003
"""Seconds that a thread without a core waits for one."""
OUTSIDE = 0.0002
"""Seconds between two steps."""


class Machine:
    """Steps take serial + parallel work; threads without a free core let every barrier wait."""

    def __init__(
        self,
        cores: int = 2,
        *,
        step: float = 0.01,
        serial: float = 0.05,
        barriers: int = 30,
        noise: float = 0.05,
        speed: Callable[[int], float] = float,
        quota: float | None = None,
        visible: bool = True,
    ) -> None:
        self.cores, self.step, self.serial, self.barriers = cores, step, serial, barriers
        self.noise, self.speed, self.quota, self.visible = noise, speed, quota, visible
        self.others = 0.0
        self.slowness = 1.0
        self.random = random.Random(1)

    def seconds(self, threads: int, tokens: int = 1) -> float:
        """One step, without noise."""
        work = self.slowness * self.step * (0.65 + 0.35 * tokens)
        time = work * (self.serial + (1 - self.serial) / self.speed(threads))
        lacking = threads + self.others - self.cores
        if lacking > 0:
            time *= (threads + self.others) / self.cores
            time += (threads > 1) * self.barriers * SLICE * min(1.0, lacking)
        if self.quota and threads > self.quota:
            time *= threads / self.quota
        return time

    def noisy(self, threads: int, tokens: int = 1) -> float:
        """One step as it would be measured: disturbances only add."""
        return self.seconds(threads, tokens) * (1 + self.random.expovariate(1) * self.noise)

    def load(self, threads: int) -> LoadSample:
        """What a reading shows while so many of our threads run."""
        usable = min(self.cores, self.quota or self.cores)
        if not self.visible:
            return LoadSample(0.0, usable)
        crowd = max(1.0, (threads + self.others) / self.cores)
        throttled = self.quota is not None and threads > self.quota
        idle = max(0.0, self.cores - threads - self.others)
        return LoadSample(self.others / crowd, usable, throttled, idle)


class Run:
    """Lets a controller work on a machine and counts."""

    def __init__(self, machine: Machine, controller: ThreadController) -> None:
        self.machine, self.controller = machine, controller
        self.now = 0.0
        self.used: list[tuple[float, int]] = []
        self._load = machine.load(controller.most)
        self._load_at = 0.0

    def work(self, seconds: float, tokens: int = 1) -> float:
        """Steps for so many seconds; steps per second."""
        begun, steps = self.now, 0
        while self.now < begun + seconds:
            self.one(tokens)
            steps += 1
        return steps / (self.now - begun)

    def one(self, tokens: int = 1) -> float:
        """One step; its seconds. The load is read every 100 ms, over the time that passed."""
        threads = self.controller.choose(tokens, self.now, self._load)
        took = self.machine.noisy(threads, tokens)
        self.used.append((self.now, threads))
        self.now += took + OUTSIDE
        self.controller.observe(tokens, took, self.now)
        if self.now - self._load_at >= 0.1:
            self._load, self._load_at = self.machine.load(threads), self.now
        return took

    def best(self, tokens: int = 1) -> float:
        """Steps per second of the best fixed count as the machine is now."""
        counts = range(1, self.machine.cores + 1)
        noise = 1 + self.machine.noise
        return 1 / min(self.machine.seconds(n, tokens) * noise + OUTSIDE for n in counts)


def settled(machine: Machine, most: int | None = None) -> Run:
    """A controller that had a calm minute on the machine."""
    run = Run(machine, ThreadController(most or machine.cores))
    run.work(60)
    return run
