"""How another ai-assistant node is doing: its own words of its engines, believed for a moment."""

import msgspec

from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.protocol.status import EngineStatus, ModelState, ModelStatus
from ai_assistant.workers.remote.transport import Call

FRESH_SECONDS = 10.0
"""Older words are not believed."""
CALL = Call(method="GET", path="/status", from_root=True)


class _Model(msgspec.Struct):
    id: str


class _Entry(msgspec.Struct):
    model: _Model
    state: ModelState
    engine: EngineStatus | None = None


class _Node(msgspec.Struct):
    models: list[_Entry]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One model there, as its node told it."""

    at: float
    """When, by the worker's clock."""
    state: ModelState
    engine: EngineStatus | None = None

    def is_fresh(self, now: float) -> bool:
        """It may be believed still."""
        return now - self.at <= FRESH_SECONDS

    def over(self, status: ModelStatus) -> ModelStatus:
        """What is known here, with what the node says of it."""
        return msgspec.structs.replace(status, state=self.state, engine=self.engine)


def read_node(provider: str, body: bytes, now: float) -> dict[str, Seen]:
    """Every model of a node by its name there; raises `MalformedAnswer`."""
    try:
        node = msgspec.json.decode(body, type=_Node)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise MalformedAnswer(f"{provider} does not tell how it is doing.") from None
    return {
        entry.model.id: Seen(at=now, state=entry.state, engine=entry.engine)
        for entry in node.models
    }
