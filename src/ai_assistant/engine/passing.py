"""Sequences that leave an engine for another one, or come from it: what is told and to whom."""

from pathlib import Path

from ai_assistant.engine.channel import Aborted, Reports
from ai_assistant.engine.handover import Arrived, arrive, leave
from ai_assistant.engine.identity import fingerprint
from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.moving import crowded
from ai_assistant.engine.outbox import Outbox
from ai_assistant.engine.setup import Parts
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError, EngineError
from ai_assistant.protocol.frames import Failed, HandedOver, TakenOver


class Passing:
    """The door between two engines, seen from one of them."""

    def __init__(self, model: Model, outbox: Outbox, aborted: Aborted, reports: Reports) -> None:
        self._model = model
        self._outbox = outbox
        self._aborted = aborted
        self._reports = reports

    def leave(self, path: str, plan: EnginePlan, parts: Parts) -> bool:
        """Write all sequences down; they stay here until it is known who goes on with them."""
        try:
            mark = fingerprint(plan, self._model)
            count, size = leave(Path(path), parts, self._outbox, mark)
        except OSError as error:
            reason = EngineError(f"The sequences could not be written to {path}: {error}")
            self._reports.send(HandedOver(error=reason.info()))
            return False
        self._reports.send(HandedOver(count, size))
        return True

    def arrive(self, path: str, plan: EnginePlan, parts: Parts, intake: Intake) -> None:
        """Go on with another engine's sequences: they queue, with their cells where these fit."""
        try:
            found = arrive(Path(path), intake, fingerprint(plan, self._model))
        except (AssistantError, OSError) as error:
            reason = error if isinstance(error, AssistantError) else EngineError(str(error))
            self._reports.send(TakenOver(error=reason.info()))
            return
        for one in found:
            if isinstance(one, Failed):
                self._reports.send(one)
            elif not self._aborted.take(one.request_id):
                self._go_on_with(one, parts)
        waiting = parts.batcher.waiting
        for sequence in crowded(waiting, parts.context.cells):
            parts.residence.parking.compute_again(sequence)
        restored = sum(one.state is not None for one in waiting)
        self._reports.send(TakenOver(len(waiting), restored))

    def _go_on_with(self, arrived: Arrived, parts: Parts) -> None:
        for sequence, state in arrived.sequences:
            if state is not None:
                parts.residence.parking.take_in(sequence, state)
            parts.batcher.add(sequence)
        self._outbox.reopen(arrived.request_id, arrived.tally)
