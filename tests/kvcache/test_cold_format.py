"""The file of a block: what goes in comes out, and nothing else ever does."""

from array import array
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_assistant.kvcache.blocks import BlockId, State
from ai_assistant.kvcache.cold.codec import PLANES, RAW, pack, unpack
from ai_assistant.kvcache.cold.format import BadBlock, pack_file, read_head, read_state
from ai_assistant.kvcache.cold.names import file_name, parse_file_name

PRINT = b"\x01" * 16
names = st.binary(min_size=16, max_size=16)
SMOOTH = np.linspace(-1, 1, 600, dtype=np.float16).view(np.uint8)
"""Compresses."""


def written(path: Path, block: BlockId, tokens: "array[int]", state: State, word: int) -> bytes:
    data = b"".join(pack_file(PRINT, block, tokens, pack(state, word)))
    path.write_bytes(data)
    return data


def read(path: Path, block: BlockId, fingerprint: bytes = PRINT) -> tuple["array[int]", State]:
    with FileIO(path) as file:
        head, state = read_state(file, fingerprint, block)
        return head.tokens, state


@settings(deadline=None)  # it writes and reads files
@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=300),
    st.binary(max_size=600) | st.just(SMOOTH.tobytes()) | st.just(SMOOTH.tobytes() + b"end"),
    st.sampled_from([1, 2, 4]),
    names,
    names,
)
def test_the_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory,
    tokens: list[int],
    content: bytes,
    word: int,
    parent: bytes,
    name: bytes,
) -> None:
    path = tmp_path_factory.getbasetemp() / "block"
    block = BlockId(parent, name, len(tokens))
    written(path, block, array("i", tokens), np.frombuffer(content, np.uint8), word)
    listed, state = read(path, block)
    assert listed.tolist() == tokens
    assert state.tobytes() == content


BLOCK = BlockId(b"p" * 16, b"n" * 16, 3)
TOKENS = array("i", [1, 2, 3])


@pytest.mark.parametrize("word", [1, 2])
def test_a_changed_byte_anywhere_is_refused(tmp_path: Path, word: int) -> None:
    path = tmp_path / "block"
    data = bytearray(written(path, BLOCK, TOKENS, SMOOTH[:200], word))
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(BadBlock):
            read(path, BLOCK)
        data[place] ^= 1 << place % 8


@pytest.mark.parametrize("word", [1, 2])
def test_a_file_of_any_other_length_is_refused(tmp_path: Path, word: int) -> None:
    path = tmp_path / "block"
    data = written(path, BLOCK, TOKENS, SMOOTH[:200], word)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(BadBlock):
            read(path, BLOCK)
        with pytest.raises(BadBlock), FileIO(path) as file:
            read_head(file, PRINT, BLOCK)
    path.write_bytes(data + b"\0")
    with pytest.raises(BadBlock):
        read(path, BLOCK)


@pytest.mark.parametrize(
    "other",
    [
        BlockId(b"q" * 16, b"n" * 16, 3),
        BlockId(b"p" * 16, b"m" * 16, 3),
        BlockId(b"p" * 16, b"n" * 16, 2),
    ],
)
def test_a_file_under_another_name_is_refused(tmp_path: Path, other: BlockId) -> None:
    path = tmp_path / "block"
    written(path, BLOCK, TOKENS, SMOOTH, 2)
    with pytest.raises(BadBlock):
        read(path, other)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "block"
    written(path, BLOCK, TOKENS, SMOOTH, 2)
    with pytest.raises(BadBlock, match="not the block"):
        read(path, BLOCK, b"\x02" * 16)


def test_planes_are_used_only_where_they_pay() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 4000, np.uint8)
    numbers = np.random.default_rng(1).normal(size=2000).astype(np.float16).view(np.uint8)
    assert pack(noise, 2).codec == RAW
    assert pack(numbers, 1).codec == RAW
    packed = pack(numbers, 2)
    assert packed.codec == PLANES
    assert packed.stored * 1.1 < packed.raw


@pytest.mark.parametrize(("codec", "word"), [(RAW, 1), (PLANES, 1), (PLANES, 2), (7, 2)])
def test_a_payload_that_cannot_be_a_state_is_refused(codec: int, word: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(codec, word, 100, np.zeros(60, np.uint8))


@given(names, names, st.integers(0, 10**9 - 1), st.booleans())
def test_a_files_name_tells_its_block(parent: bytes, name: bytes, count: int, pinned: bool) -> None:
    block = BlockId(parent, name, count)
    assert parse_file_name(file_name(block, pinned=pinned)) == (block, pinned)


@pytest.mark.parametrize("text", ["about.json", ".tmp-1-2", "a-b-3", f"{'0' * 32}-{'0' * 32}-x"])
def test_other_files_are_no_blocks(text: str) -> None:
    assert parse_file_name(text) is None
