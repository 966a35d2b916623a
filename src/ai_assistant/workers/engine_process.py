"""One engine process from its start to its end: orders in, reports out, its last words kept."""

import asyncio
import collections
import contextlib
import logging
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import EngineDied, EngineError, from_info
from ai_assistant.protocol.frames import (
    EngineReport,
    Load,
    LoadFailed,
    Order,
    Ready,
    pack,
    read_frame_async,
    unpack_report,
)

log = logging.getLogger(__name__)

Hear = Callable[[EngineReport], None]
Answer = TypeVar("Answer", bound=EngineReport)


class EngineProcess:
    """A process with pipes. Its death is the end of `ended`, however it dies."""

    def __init__(self, name: str, process: Process, plan: EnginePlan, hear: Hear) -> None:
        """Use `launch`."""
        self.plan = plan
        self.hear = hear
        """Who listens; may change while it runs."""
        self.heir: asyncio.Future[EngineProcess | None] | None = None
        """Set: another one is to go on with its sequences, and is told there; None: none is."""
        self.complaints: collections.deque[str] = collections.deque(maxlen=30)
        self._name = name
        self._process = process
        self._asked: list[tuple[tuple[type, ...], asyncio.Future[EngineReport]]] = []
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def launch(
        cls, name: str, command: Sequence[str], plan: EnginePlan, hear: Hear
    ) -> "EngineProcess":
        """Start one that loads this plan; `hear` gets its reports. Raises `OSError`."""
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        made = cls(name, process, plan, hear)
        made.send(Load(plan))
        return made

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def send(self, order: Order) -> None:
        """Write an order; one that is gone hears nothing."""
        stdin = self._process.stdin
        if stdin and not stdin.is_closing():
            stdin.write(pack(order))

    async def ask(self, order: Order, answer: type[Answer], seconds: float) -> Answer:
        """Its answer to an order; raises `EngineDied`, or `EngineError` if it takes too long."""
        waiting = self._expect(answer)
        self.send(order)
        report = await self._await(waiting, seconds)
        assert isinstance(report, answer)
        return report

    async def ready(self) -> Ready:
        """Wait until the model is loaded; raises what keeps it from that, `EngineDied` too."""
        report = await self._await(self._expect(Ready, LoadFailed), None)
        if isinstance(report, LoadFailed):
            raise from_info(report.error)
        assert isinstance(report, Ready)
        return report

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                self._process.kill()

    async def ended(self) -> int:
        """Its exit code, once it has ended and all that it said was heard."""
        return await asyncio.shield(self._listening)

    def _expect(self, *kinds: type) -> "asyncio.Future[EngineReport]":
        waiting: asyncio.Future[EngineReport] = asyncio.get_running_loop().create_future()
        self._asked.append((kinds, waiting))
        return waiting

    async def _await(
        self, waiting: "asyncio.Future[EngineReport]", seconds: float | None
    ) -> EngineReport:
        await asyncio.wait(
            {waiting, self._listening}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        if self._listening.done():
            words = f": {self.complaints[-1]}" if self.complaints else ""
            raise EngineDied(f"The engine ended with code {self._listening.result()}{words}.")
        raise EngineError(f"The engine did not answer within {seconds:.0f} s.")

    async def _listen(self) -> int:
        process = self._process
        complaining = asyncio.create_task(self._collect_complaints())
        assert process.stdout
        try:
            while (body := await read_frame_async(process.stdout)) is not None:
                report = unpack_report(body)
                self._settle(report)
                self.hear(report)
        except msgspec.DecodeError as error:
            self.complaints.append(f"it sent a broken report: {error}")
            self.kill()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            self.complaints.append(f"it could not be run: {error}")
            self.kill()
        code = await process.wait()
        await complaining
        return code

    def _settle(self, report: EngineReport) -> None:
        for entry in self._asked:
            kinds, waiting = entry
            if isinstance(report, kinds):
                if not waiting.done():
                    waiting.set_result(report)
                self._asked.remove(entry)
                return

    async def _collect_complaints(self) -> None:
        stderr = self._process.stderr
        assert stderr
        # Not by lines: a line without an end must not stop the reading.
        while data := await stderr.read(1 << 16):
            for text in data.decode("utf-8", "replace").splitlines():
                if text.strip():
                    self.complaints.append(text.strip()[:1000])
                    log.debug("engine of %s: %s", self._name, text)
