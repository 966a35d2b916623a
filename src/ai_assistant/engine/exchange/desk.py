"""Hears what is asked about blocks, between two steps; what takes time is done on a thread."""

import queue
import threading
from collections.abc import Callable

from ai_assistant.engine.channel import Arrival, Reports
from ai_assistant.engine.exchange import giving, taking
from ai_assistant.engine.exchange.taking import Checked, Unusable
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.setup import Parts
from ai_assistant.engine.spelling import Names
from ai_assistant.kvcache.blocks import BLOCK, State
from ai_assistant.protocol.blocks import (
    BlocksAnswer,
    Refused,
    SaveBlock,
    TakeBlock,
    TellBlocks,
    WeighBlocks,
)
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.frames import AskBlocks, BlocksSaid

_GONE = Refused("the answer has no such blocks in the context")


class Exchange:
    """One engine's."""

    def __init__(
        self, model: Model, reports: Reports, arrivals: "queue.SimpleQueue[Arrival]"
    ) -> None:
        """What was looked at comes back to the loop through `arrivals`."""
        self._model = model
        self._reports = reports
        self._arrivals = arrivals
        self._names = Names(model.vocabulary)
        self._work: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    # In the loop.

    def hear(self, order: AskBlocks, plan: EnginePlan, parts: Parts) -> None:
        """An order; it is answered soon."""
        match order.ask:
            case TellBlocks(request_id):
                self._tell(order.ask_id, request_id, plan, parts)
            case SaveBlock():
                self._save(order.ask_id, order.ask, plan, parts)
            case WeighBlocks() | TakeBlock():
                ask, layers = order.ask, parts.context.layers
                self._do(order.ask_id, lambda: self._check(order.ask_id, ask, plan, layers))

    def settle(self, checked: Checked, plan: EnginePlan, parts: Parts) -> None:
        """What was looked at is used, or told."""
        if checked.kv_type != plan.kv_type:
            self._say(checked.ask_id, Refused("the KV cache has another type by now"))
        elif isinstance(checked.ask, WeighBlocks):
            self._say(checked.ask_id, taking.weigh(checked, parts, plan.warm_bytes))
        else:
            self._say(checked.ask_id, taking.take(checked, parts))

    def _tell(self, ask_id: str, request_id: str, plan: EnginePlan, parts: Parts) -> None:
        sequence = giving.holder(parts, request_id) if self._model.shares_prefixes else None
        if sequence is None:
            self._say(ask_id, _GONE)
            return
        tokens = giving.known(sequence)
        size = giving.size_of(sequence, parts)
        model, names = self._model, self._names
        self._do(ask_id, lambda: self._say(ask_id, giving.offer(tokens, size, plan, model, names)))

    def _save(self, ask_id: str, ask: SaveBlock, plan: EnginePlan, parts: Parts) -> None:
        sequence = giving.holder(parts, ask.request_id) if self._model.shares_prefixes else None
        tokens = ask.tokens or (ask.index + 1) * BLOCK
        there = tokens <= sequence.computed if sequence else False
        if sequence is None or not there or not 0 <= ask.index * BLOCK < tokens:
            self._say(ask_id, _GONE)
            return
        state = giving.state_of(sequence, ask.index, tokens, parts)
        self._do(ask_id, lambda: self._send(ask_id, ask.index, state, plan))

    # Beside it.

    def _send(self, ask_id: str, index: int, state: State, plan: EnginePlan) -> None:
        waiting: BlocksAnswer | None = None
        for piece in giving.packed(index, state, plan):
            if waiting:
                self._say(ask_id, waiting, last=False)
            waiting = piece
        assert waiting is not None
        self._say(ask_id, waiting)

    def _check(
        self, ask_id: str, ask: WeighBlocks | TakeBlock, plan: EnginePlan, layers: int
    ) -> None:
        offered = ask.offered if isinstance(ask, WeighBlocks) else ask.part.head.offered
        try:
            if offered is None:
                raise Unusable("nothing is said of their text")
            tokens = taking.tokens_of(offered, plan, self._model, self._names)
            state = None
            if isinstance(ask, TakeBlock):
                state = taking.state_of(ask.part, plan, layers)
        except Unusable as error:
            self._say(ask_id, Refused(str(error)))
            return
        self._arrivals.put(Checked(ask_id, ask, tokens, plan.kv_type, state))

    def _do(self, ask_id: str, work: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)
            self._thread.start()
        self._work.put((ask_id, work))

    def _run(self) -> None:
        while True:
            ask_id, work = self._work.get()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - who waits must hear of it
                self._say(ask_id, Refused(f"it could not be done: {error}"))

    def _say(self, ask_id: str, answer: BlocksAnswer, *, last: bool = True) -> None:
        self._reports.send(BlocksSaid(ask_id, answer, last))
