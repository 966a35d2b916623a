"""The file of a block: a header, its tokens, its packed state. Nothing unverified leaves here.

The header's checksum covers the tokens too, so that they can be read without the state.
"""

import os
import struct
import zlib
from array import array
from io import FileIO

import msgspec
import numpy as np

from ai_assistant.kvcache.blocks import BlockId, State
from ai_assistant.kvcache.cold.codec import Packed, unpack

MAGIC = b"AIA-KV\r\n"
VERSION = 1
MAX_FINGERPRINT = 32
_HEADER = struct.Struct("<8sHBB32s16s16sIQQI")
"""Magic, version, codec, word, fingerprint, parent, name, count, raw and stored length, checksum
of the payload."""
_CHECK = struct.Struct("<I")
_FIXED = _HEADER.size + _CHECK.size
_TOKEN = 4


class BadBlock(Exception):
    """The file is torn, changed or not what its name says."""


class Head(msgspec.Struct, frozen=True):
    """What a file says before its payload."""

    tokens: "array[int]"
    codec: int
    word: int
    raw: int
    stored: int
    checksum: int


def overhead(block: BlockId) -> int:
    """Bytes of the file that are not payload."""
    return _FIXED + _TOKEN * block.count


def pack_file(
    fingerprint: bytes, block: BlockId, tokens: "array[int]", packed: Packed
) -> list[memoryview]:
    """The file's pieces, in order."""
    checksum = 0
    for piece in packed.pieces:
        checksum = zlib.crc32(piece, checksum)
    header = _HEADER.pack(
        MAGIC, VERSION, packed.codec, packed.word, fingerprint, block.parent, block.name,
        block.count, packed.raw, packed.stored, checksum,
    )  # fmt: skip
    listed = tokens.tobytes()
    check = _CHECK.pack(zlib.crc32(listed, zlib.crc32(header)))
    return [memoryview(header + check + listed), *packed.pieces]


def read_head(file: FileIO, fingerprint: bytes, block: BlockId) -> Head:
    """The header and the tokens of an unbuffered file at its beginning; raises `BadBlock`."""
    size = os.fstat(file.fileno()).st_size
    if size < overhead(block):
        raise BadBlock("torn")
    start = _read(file, overhead(block)).tobytes()
    header, listed = start[: _HEADER.size], start[_FIXED:]
    (check,) = _CHECK.unpack(start[_HEADER.size : _FIXED])
    if zlib.crc32(listed, zlib.crc32(header)) != check:
        raise BadBlock("its header is damaged")
    magic, version, codec, word, *identity, raw, stored, checksum = _HEADER.unpack(header)
    if (magic, version) != (MAGIC, VERSION):
        raise BadBlock("another format")
    padded = fingerprint.ljust(MAX_FINGERPRINT, b"\0")
    if identity != [padded, block.parent, block.name, block.count]:
        raise BadBlock("not the block that its name says")
    if size != overhead(block) + stored:
        raise BadBlock("torn")
    return Head(array("i", listed), codec, word, raw, stored, checksum)


def read_state(file: FileIO, fingerprint: bytes, block: BlockId) -> tuple[Head, State]:
    """The head and the state; raises `BadBlock` and gives nothing of a damaged file."""
    head = read_head(file, fingerprint, block)
    payload = _read(file, head.stored)
    if zlib.crc32(payload.data) != head.checksum:
        raise BadBlock("its payload is damaged")
    try:
        return head, unpack(head.codec, head.word, head.raw, payload)
    except ValueError as error:
        raise BadBlock(str(error)) from error


def _read(file: FileIO, size: int) -> State:
    buffer = np.empty(size, np.uint8)
    filled = 0
    while filled < size:
        count = file.readinto(buffer[filled:].data)
        if not count:
            raise BadBlock("torn")
        filled += count
    return buffer
