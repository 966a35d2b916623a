"""What a model's file says of its tokenizer, as a digest: the same digest, the same tokens.

The lists of 150,000 texts are hashed as they lie in the file. Some families fill their vocabulary
up with texts such as `[PAD151936]` until its size suits a processor, each size of model otherwise:
what is filled up at the end does not count.
"""

import hashlib
import re
import struct
from pathlib import Path
from typing import BinaryIO

import msgspec

from ai_assistant.store.gguf_header import GgufHeader, Span

_FILLED = re.compile(rb"\[PAD\d*\]|<\|?(?:dummy|extra|unused|reserved)[\w ]*\|?>", re.IGNORECASE)
_PREFIX = "tokenizer.ggml."
_HEAD = struct.Struct("<IQ")
"""Of an array: the type of its elements, and how many there are."""
_LENGTH = struct.Struct("<Q")
_STRING = 8


class Tokenizer(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two models read and write the same tokens."""

    kind: str
    size: int
    """Tokens, those included with which the vocabulary is filled up."""
    digest: str
    """Of the tokens' texts and of the merges, in order."""
    begin: int = -1
    end: int = -1
    adds_begin: bool | None = None

    def same(self, other: "Tokenizer") -> bool:
        """Whether one model's tokens are the other's. What a file does not say is as it may be."""
        marks = (self.begin, other.begin), (self.end, other.end)
        adds = {self.adds_begin, other.adds_begin} - {None}
        return (
            (self.kind, self.digest) == (other.kind, other.digest)
            and all(mine == theirs or -1 in (mine, theirs) for mine, theirs in marks)
            and len(adds) < 2
        )


def tokenizer_of(path: Path, header: GgufHeader) -> Tokenizer:
    """Of the file whose header was read. Raises `OSError`."""
    spans = {span.key: span for span in header.spans}
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        if tokens := spans.get(f"{_PREFIX}tokens"):
            texts, size = _texts(file, tokens)
            hashed.update(texts)
        if merges := spans.get(f"{_PREFIX}merges"):
            hashed.update(b"merges")
            hashed.update(_texts(file, merges)[0])
    return Tokenizer(
        kind=str(header.facts.get(f"{_PREFIX}model", "")),
        size=size,
        digest=hashed.hexdigest()[:32],
        begin=_number(header, "bos_token_id"),
        end=_number(header, "eos_token_id"),
        adds_begin=header.facts.get(f"{_PREFIX}add_bos_token"),
    )


def _texts(file: BinaryIO, span: Span) -> tuple[bytes, int]:
    """The texts of an array, as they lie there, without what only fills it up; how many it has."""
    file.seek(span.value)
    data = file.read(span.end - span.value)
    kind, count = _HEAD.unpack_from(data)
    if kind != _STRING:
        return data, count
    place = end = _HEAD.size
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, place)
        text = place + _LENGTH.size
        place = text + length
        if data[text : text + 1] not in b"[<" or not _FILLED.fullmatch(data, text, place):
            end = place
    return data[_HEAD.size : end], count


def _number(header: GgufHeader, key: str) -> int:
    value = header.facts.get(f"{_PREFIX}{key}", -1)
    return value if isinstance(value, int) else -1
