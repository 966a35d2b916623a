"""KV blocks on their way between nodes: who takes an answer over need not compute its beginning.

A part is a head, and behind it the packed state of one block or nothing. What it says of itself is
checked here, what its bytes mean by the engine that is to use them (`docs/decisions/0023`).
"""

import struct
import zlib

import msgspec
from msgspec import structs

MAGIC = b"AIA-KVN1"
_FIXED = struct.Struct("<8sIQI")
"""Magic, length of the head, length of the payload, checksum of the head."""
FIXED = _FIXED.size
MOST_HEAD = 16 << 20
MOST_PAYLOAD = 1 << 30
MOST_BLOCKS, MOST_TOKENS = 1 << 16, 1 << 24


class BadPart(Exception):
    """It is torn, changed or no part at all."""


class Offered(msgspec.Struct, frozen=True, kw_only=True, tag="offered"):
    """The blocks of a sequence as far as it is computed, and the text that they stand for, from its
    beginning. The last one may be shorter."""

    model: str
    """The digest of the model's file."""
    fits: str
    """What a saved state must have in common with an engine, beside the model."""
    text: bytes
    """Names of control tokens included; it may end within a character."""
    cuts: tuple[int, ...]
    """The length of each token, in bytes."""
    block_tokens: int
    block_bytes: int
    """Of a whole block's state, about, before it is packed."""

    @property
    def blocks(self) -> int:
        """How many, the last one included."""
        return -(-len(self.cuts) // self.block_tokens)

    def first(self, blocks: int) -> "Offered":
        """The same of the first blocks only."""
        cuts = self.cuts[: self.block_tokens * blocks]
        return structs.replace(self, text=self.text[: sum(cuts)], cuts=cuts)


class BlockHead(msgspec.Struct, frozen=True, kw_only=True):
    """One block's state as it is packed."""

    index: int
    codec: int
    word: int
    raw: int
    """Bytes of the state, unpacked."""
    checksum: int
    """CRC-32 of the payload."""


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a part says of itself."""

    model: str = ""
    """The model's name at the node that is told."""
    offered: Offered | None = None
    block: BlockHead | None = None


class Part(msgspec.Struct, frozen=True, tag="part"):
    """A head and a block's packed state."""

    head: Head
    payload: bytes = b""


class Weighed(msgspec.Struct, frozen=True, kw_only=True, tag="weighed"):
    """What an engine says to an offer that it could use."""

    known: int
    """Blocks from the beginning that it has itself."""
    prefill: float
    """Tokens that it computes in a second; 0: not measured."""
    room: int
    """Bytes that its tier in memory may have."""


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """A block is in the tier in memory."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why not: the blocks are computed instead."""

    why: str


# What an engine is asked, and what it says.
class TellBlocks(msgspec.Struct, frozen=True, tag="tell"):
    """What blocks has the answer to this request? `Offered` or `Refused`."""

    request_id: str


class SaveBlock(msgspec.Struct, frozen=True, tag="save"):
    """One of them, please: `Part`s whose payloads together are the block's, or `Refused`."""

    request_id: str
    index: int
    tokens: int = 0
    """Of the sequence, as offered: the last block ends with them. 0: this is a whole one."""


class WeighBlocks(msgspec.Struct, frozen=True, tag="weigh"):
    """Could you use these? `Weighed` or `Refused`."""

    offered: Offered
    tenant: str


class TakeBlock(msgspec.Struct, frozen=True, tag="take"):
    """Keep the last block of these: `Taken` or `Refused`."""

    part: Part
    tenant: str


BlocksAsk = TellBlocks | SaveBlock | WeighBlocks | TakeBlock
BlocksAnswer = Offered | Part | Weighed | Taken | Refused

_heads = msgspec.msgpack.Decoder(Head)
_encode = msgspec.msgpack.Encoder().encode


def pack_part(part: Part) -> bytes:
    """A part as it is sent."""
    head = _encode(part.head)
    fixed = _FIXED.pack(MAGIC, len(head), len(part.payload), zlib.crc32(head))
    return b"".join((fixed, head, part.payload))


class PartReader:
    """Parts out of bytes as they come; what is too long is refused before it is there."""

    def __init__(self, most: int = MOST_PAYLOAD) -> None:
        """`most` bytes of payload in a part."""
        self.most = most
        self._buffer = bytearray()
        self._head: Head | None = None
        self._missing = FIXED
        self._lengths = (0, 0, 0)

    @property
    def head(self) -> Head | None:
        """Of the part that is coming, once it is known."""
        return self._head

    @property
    def announced(self) -> int:
        """Bytes of the payload that is coming, once its head is known; 0 between parts."""
        return self._missing if self._head is not None else 0

    @property
    def between(self) -> bool:
        """Nothing of a next part has come."""
        return not self._buffer and self._head is None

    def feed(self, data: bytes) -> list[Part]:
        """The parts that are whole with these bytes; raises `BadPart`."""
        self._buffer += data
        found: list[Part] = []
        while len(self._buffer) >= self._missing:
            if part := self._step():
                found.append(part)
        return found

    def _step(self) -> Part | None:
        taken = bytes(memoryview(self._buffer)[: self._missing])
        del self._buffer[: self._missing]
        if self._head is not None:
            part, self._head, self._missing = Part(self._head, taken), None, FIXED
            _check_payload(part)
            return part
        if self._lengths == (0, 0, 0):
            self._lengths = _lengths(taken, self.most)
            self._missing = self._lengths[0]
            return None
        _, payload, checksum = self._lengths
        self._head = _head(taken, checksum, payload)
        self._lengths, self._missing = (0, 0, 0), payload
        return None


def read_part(data: bytes, most: int = MOST_PAYLOAD) -> Part:
    """The only part in some bytes; raises `BadPart`."""
    reader = PartReader(most)
    found = reader.feed(data)
    if len(found) != 1 or not reader.between:
        raise BadPart("it is not whole" if not found else "there is more than one part")
    return found[0]


def _lengths(fixed: bytes, most: int) -> tuple[int, int, int]:
    magic, head, payload, checksum = _FIXED.unpack(fixed)
    if magic != MAGIC:
        raise BadPart("this is no block of a KV cache")
    if not 0 < head <= MOST_HEAD or payload > most:
        raise BadPart(f"it is too long: {payload} bytes, and {most} are allowed")
    return head, payload, checksum


def _head(data: bytes, checksum: int, payload: int) -> Head:
    if zlib.crc32(data) != checksum:
        raise BadPart("its head is damaged")
    try:
        head = _heads.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadPart(f"its head cannot be read: {error}") from None
    if head.offered is not None and not is_sound(head.offered):
        raise BadPart("its cuts do not fit its text")
    if (head.block is None) != (payload == 0):
        raise BadPart("it has a state without a head, or a head without a state")
    if head.block is not None and not _is_sound_block(head.block):
        raise BadPart("its figures cannot be right")
    return head


def is_sound(offered: Offered) -> bool:
    """Whether the cuts fit the text, and whole blocks."""
    return (
        0 < len(offered.cuts) <= MOST_TOKENS
        and 0 < offered.block_tokens <= MOST_TOKENS
        and min(offered.cuts) > 0
        and sum(offered.cuts) == len(offered.text)
        and 0 < offered.block_bytes <= MOST_PAYLOAD
    )


def _is_sound_block(block: BlockHead) -> bool:
    return (
        0 <= block.index < MOST_BLOCKS
        and 0 <= block.codec < 256
        and 0 < block.word <= 8
        and 0 < block.raw <= MOST_PAYLOAD
    )


def _check_payload(part: Part) -> None:
    block = part.head.block
    if block is not None and zlib.crc32(part.payload) != block.checksum:
        raise BadPart("its payload is damaged")
