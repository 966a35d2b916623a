"""Who answers one request and what that costs, over all who had a part in it."""

from msgspec import structs

from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import AssistantError
from ai_assistant.protocol.routing import Decision, Served
from ai_assistant.scheduler.turn import Turn


class Bill:
    """Who answers and what it costs, for the first piece of an answer and for the last."""

    def __init__(self, decision: Decision | None) -> None:
        self._decision = decision
        self._turn: Turn | None = None
        self._before: list[str] = []
        self._spent: float | None = 0.0
        self._why = ""
        self._told = False

    def begin(self, turn: Turn, error: AssistantError | None) -> None:
        """Its turn comes; `error`: what became of those before it."""
        self._turn = turn
        self._why = error.message if error else turn.why

    def stamped(self, chunk: TokenChunk) -> TokenChunk:
        """The piece, with who answers where that is to be told."""
        if chunk.usage is not None:
            return self.last(chunk)
        if self._told:
            return structs.replace(chunk, served=None) if chunk.served else chunk
        self._told = True
        assert self._turn
        return structs.replace(chunk, served=self._served(self._turn.expected_cost))

    def gone(self, tokens: int) -> None:
        """It went away, or hands on what it began; the tokens that it had said are paid for."""
        assert self._turn
        if tokens:
            self._before.append(self._turn.candidate.name)
            self._pay(Usage(prompt_tokens=self._turn.prompt_tokens, completion_tokens=tokens), 0.0)

    def take_over(self, turn: Turn) -> None:
        """It goes on with what another one hands on."""
        self._why = f"{self.name} handed the answer on"
        self._turn = turn

    @property
    def name(self) -> str:
        """Of whose turn it is."""
        assert self._turn
        return self._turn.candidate.name

    def last(self, chunk: TokenChunk) -> TokenChunk:
        """The last piece, with what all of the answer cost."""
        spent = chunk.timings
        busy = (spent.prefill_ms + spent.decode_ms) / 1000 if spent else 0.0
        if chunk.usage is not None and chunk.usage.prompt_tokens:
            self._pay(chunk.usage, busy)
        self._told = True
        return structs.replace(chunk, served=self._served(self._spent))

    def _pay(self, usage: Usage, busy: float) -> None:
        assert self._turn
        remote = self._turn.candidate.remote
        energy = busy * self._turn.energy
        if remote is None:
            self._spent = None if self._spent is None else self._spent + energy
            return
        price = remote.offer.price
        dollars = price and price.of(usage)
        self._spent = (
            None if dollars is None or self._spent is None else self._spent + dollars + energy
        )

    def _served(self, cost: float | None) -> Served:
        assert self._turn
        return Served(
            worker=self._turn.candidate.name,
            reason=self._turn.reason,
            cost=cost,
            fallback=bool(self._why or self._turn.fallback),
            why=self._why,
            before=tuple(self._before),
            decision=self._decision,
        )
