"""The answers to what an engine was asked: who waits for what, and what has come for whom."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

from ai_assistant.protocol.blocks import BlocksAnswer
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import AssistantError, EngineDied, from_info
from ai_assistant.protocol.frames import (
    Abort,
    AskBlocks,
    BlocksSaid,
    Chunks,
    Embedded,
    Failed,
    Order,
    Tokenized,
)
from ai_assistant.workers.lifecycle import Lifecycle
from ai_assistant.workers.line import Line

Answer = TokenChunk | Embeddings | Tokenization | BlocksSaid | AssistantError
Kind = TypeVar("Kind", Embeddings, Tokenization)


class Answers:
    """Requests go down the line; each waits for its own answer."""

    def __init__(self, line: Line, lifecycle: Lifecycle) -> None:
        self._line = line
        self._lifecycle = lifecycle
        self._waiting: dict[str, asyncio.Queue[Answer]] = {}

    @property
    def wanted(self) -> bool:
        """Somebody waits for one."""
        return bool(self._waiting)

    async def stream(self, request_id: str, order: Order) -> AsyncGenerator[TokenChunk, None]:
        """The pieces up to the one that carries `usage`; closing the iterator aborts the order."""
        answers = self._open(request_id, order)
        done = False
        try:
            while not done:
                answer = await answers.get()
                done = isinstance(answer, AssistantError) or (
                    isinstance(answer, TokenChunk) and answer.usage is not None
                )
                if isinstance(answer, AssistantError):
                    raise answer
                if isinstance(answer, TokenChunk):
                    yield answer
        finally:
            self._close(request_id, done)

    async def single(self, request_id: str, order: Order, kind: type[Kind]) -> Kind:
        """The only answer to an order; cancelling the call aborts it."""
        answers = self._open(request_id, order)
        done = False
        try:
            answer = await answers.get()
            done = True
        finally:
            self._close(request_id, done)
        if isinstance(answer, kind):
            return answer
        raise answer if isinstance(answer, AssistantError) else EngineDied("A wrong answer came.")

    async def about_blocks(self, order: AskBlocks) -> list[BlocksAnswer]:
        """All that is said to it, at least one answer."""
        answers = self._open(order.ask_id, order)
        found: list[BlocksAnswer] = []
        done = False
        try:
            while not done:
                answer = await answers.get()
                done = not isinstance(answer, BlocksSaid) or answer.last
                if isinstance(answer, BlocksSaid):
                    found.append(answer.answer)
                elif isinstance(answer, AssistantError):
                    raise answer
        finally:
            self._close(order.ask_id, done)
        return found

    def hear(self, report: Chunks | Embedded | Tokenized | BlocksSaid | Failed) -> None:
        """Hand each answer to whoever waits for it."""
        match report:
            case Chunks(chunks):
                self._line.note_words()
                for request_id, chunk in chunks:
                    self._hand_over(request_id, chunk)
            case Embedded(request_id, embeddings):
                self._hand_over(request_id, embeddings)
            case Tokenized(request_id, tokenization):
                self._hand_over(request_id, tokenization)
            case BlocksSaid(ask_id):
                self._hand_over(ask_id, report)
            case Failed(request_id, error):
                self._hand_over(request_id, from_info(error))

    def put(self, request_id: str, chunk: TokenChunk) -> None:
        """A piece that is not the engine's, behind those that have come."""
        self._hand_over(request_id, chunk)

    @property
    def count(self) -> int:
        """Of those that somebody waits for."""
        return len(self._waiting)

    def fail(self, error: AssistantError) -> None:
        """Nothing more comes: whoever waits gets this."""
        for answers in self._waiting.values():
            answers.put_nowait(error)

    def _hand_over(self, request_id: str, answer: Answer) -> None:
        # Nobody waits any more for what was aborted a moment ago.
        if answers := self._waiting.get(request_id):
            answers.put_nowait(answer)

    def _open(self, request_id: str, order: Order) -> asyncio.Queue[Answer]:
        self._lifecycle.demand_ready()
        answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._waiting[request_id] = answers
        self._line.send(order)
        return answers

    def _close(self, request_id: str, done: bool) -> None:
        del self._waiting[request_id]
        if not done:
            self._line.send(Abort(request_id))
