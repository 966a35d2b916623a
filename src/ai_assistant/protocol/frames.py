"""What node and engine say to each other over a pipe: length-prefixed MessagePack.

Each frame is a four-byte little-endian length and that many bytes. The engine reads orders
from its standard input and writes reports to its standard output; the end of either stream
means that the other side is gone.
"""

import struct
from typing import Any, BinaryIO

import msgspec

from ai_assistant.protocol.blocks import BlocksAnswer, BlocksAsk
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import ErrorInfo
from ai_assistant.protocol.power import Restraint
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.status import EngineStatus

_LENGTH = struct.Struct("<I")


# Orders: node to engine.
class Load(msgspec.Struct, frozen=True, tag="load"):
    """The first order."""

    plan: EnginePlan


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Answer this."""

    request: GenerateRequest


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    """Give vectors for this."""

    request: EmbedRequest


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize"):
    """Say how the model reads this."""

    request: TokenizeRequest


class AskBlocks(msgspec.Struct, frozen=True, tag="ask_blocks"):
    """About KV blocks of this node or another one; `BlocksSaid` answers."""

    ask_id: str
    ask: BlocksAsk


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """Forget this; no further report about it is wanted."""

    request_id: str


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End: with `drain` after what is accepted is done."""

    drain: bool = True


class Limit(msgspec.Struct, frozen=True, tag="limit"):
    """Leave this alone from now on."""

    restraint: Restraint


class Ease(msgspec.Struct, frozen=True, tag="ease"):
    """Memory is short, or is not any more: the tier in RAM may have so many bytes."""

    warm_bytes: int


class Move(msgspec.Struct, frozen=True, tag="move"):
    """Go on with this plan, for the same weights; `Moved` answers."""

    plan: EnginePlan


class HandOver(msgspec.Struct, frozen=True, tag="hand_over"):
    """Stand still and write all sequences to this file; `HandedOver` answers."""

    path: str


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Nobody took them over: go on with them."""


class TakeOver(msgspec.Struct, frozen=True, tag="take_over"):
    """Go on with the sequences in this file; `TakenOver` answers."""

    path: str


Order = (
    Load
    | Generate
    | Embed
    | Tokenize
    | AskBlocks
    | Abort
    | Shutdown
    | Limit
    | Ease
    | Move
    | HandOver
    | Resume
    | TakeOver
)


# Reports: engine to node.
class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the load is, 0 to 1."""

    fraction: float


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded and warm."""

    status: EngineStatus


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The model will not load; the engine ends."""

    error: ErrorInfo


class Chunks(msgspec.Struct, frozen=True, tag="chunks"):
    """Pieces of answers, in order, of one or more requests."""

    chunks: list[tuple[str, TokenChunk]]


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """The vectors of one request."""

    request_id: str
    embeddings: Embeddings


class Tokenized(msgspec.Struct, frozen=True, tag="tokenized"):
    """How the model reads one request's prompt."""

    request_id: str
    tokenization: Tokenization


class BlocksSaid(msgspec.Struct, frozen=True, tag="blocks_said"):
    """The answer to `AskBlocks`, or a piece of it."""

    ask_id: str
    answer: BlocksAnswer
    last: bool = True


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """This request ends with an error."""

    request_id: str
    error: ErrorInfo


class StepSample(msgspec.Struct, frozen=True, array_like=True):
    """One step that nothing disturbed."""

    tokens: int
    depth: float
    """Tokens before them, the mean over sequences."""
    streams: int
    seconds: float
    """In the kernels."""


class Report(msgspec.Struct, frozen=True, tag="status"):
    """The engine as it is now, and some steps since the last report."""

    status: EngineStatus
    steps: list[StepSample] = []


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """The streams stood still for so many seconds; with an error the old plan is still in use."""

    seconds: float
    sequences: int
    error: ErrorInfo | None = None


class HandedOver(msgspec.Struct, frozen=True, tag="handed_over"):
    """The sequences are in the file and wait; with an error they go on here."""

    sequences: int = 0
    bytes: int = 0
    error: ErrorInfo | None = None


class TakenOver(msgspec.Struct, frozen=True, tag="taken_over"):
    """The sequences go on here; with an error none does."""

    sequences: int = 0
    restored: int = 0
    """Of them with their KV cells; the others are computed again."""
    error: ErrorInfo | None = None


EngineReport = (
    Progress
    | Ready
    | LoadFailed
    | Chunks
    | Embedded
    | Tokenized
    | BlocksSaid
    | Failed
    | Report
    | Moved
    | HandedOver
    | TakenOver
)

_encoder = msgspec.msgpack.Encoder()
_orders = msgspec.msgpack.Decoder(Order)
_reports = msgspec.msgpack.Decoder(EngineReport)


def pack(message: Order | EngineReport) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def unpack_order(body: bytes) -> Order:
    """The order in a frame's body; raises `msgspec.DecodeError`."""
    return _orders.decode(body)


def unpack_report(body: bytes) -> EngineReport:
    """The report in a frame's body; raises `msgspec.DecodeError`."""
    return _reports.decode(body)


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame's body, or None at the end of the stream, also where it ends torn."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    body = stream.read(_LENGTH.unpack(head)[0])
    return body if len(body) == _LENGTH.unpack(head)[0] else None


async def read_frame_async(stream: Any) -> bytes | None:
    """The same from an `asyncio.StreamReader`."""
    head = await stream.read(_LENGTH.size)
    while 0 < len(head) < _LENGTH.size:
        more = await stream.read(_LENGTH.size - len(head))
        if not more:
            return None
        head += more
    if not head:
        return None
    parts: list[bytes] = []
    missing = _LENGTH.unpack(head)[0]
    while missing:
        part = await stream.read(missing)
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
