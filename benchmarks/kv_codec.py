"""How KV on disk is best packed: gain and speed of each candidate on real blocks.

`python -m benchmarks.kv_codec`. A block is the state of 256 tokens of English as the kernels save
it: of the starter (trained) and, where it was made before, of the 0.5b model (random weights).
lz4 takes part where it is installed (`uv run --with lz4`). Speeds are in MB of states, the median
of rounds in which the candidates alternate.
"""

import importlib.util
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ai_assistant.engine.kernels import Context, Model
from ai_assistant.kvcache.blocks import BLOCK, BlockId, State
from ai_assistant.kvcache.cold.codec import PLANES, pack, unpack
from ai_assistant.kvcache.cold.format import pack_file, read_state
from benchmarks.models import BENCH, ensure
from benchmarks.report import ROOT, Record, publish

KV_TYPES = {"f16": 2, "bf16": 2, "f32": 4, "q8_0": 1}
"""How wide the numbers are."""
ROUNDS = 7
MIN_SPEED = 400.0
"""MB/s of unpacking below which fetching loses against computing again."""
MIN_GAIN = 1.1
Bytes = Any
Plain = Callable[[Bytes], bytes]


class Candidate:
    """A way to pack: which part of the state is compressed by what."""

    def __init__(self, name: str, compress: Plain, expand: Plain, *, planes: str = "") -> None:
        self.name = name
        self._compress = compress
        self._expand = expand
        self._planes = planes

    def pack(self, state: State, word: int) -> list[Bytes]:
        """What would be stored."""
        if not self._planes:
            return [self._compress(state.data)]
        split = np.ascontiguousarray(state.reshape(-1, word).T)
        if self._planes == "all":
            return [self._compress(split.reshape(-1).data)]
        return [split[:-1], self._compress(split[-1].data)]

    def unpack(self, stored: list[Bytes], word: int) -> State:
        """The state again."""
        last = np.frombuffer(self._expand(stored[-1]), np.uint8)
        if not self._planes:
            return last
        if self._planes == "all":
            return np.ascontiguousarray(last.reshape(word, -1).T).reshape(-1)
        state = np.empty((len(last), word), np.uint8)
        state[:, :-1] = stored[0].T
        state[:, -1] = last
        return state.reshape(-1)


def candidates() -> list[Candidate]:
    """Those that this environment can run."""

    def shrink(data: Bytes) -> bytes:
        return zstandard.ZstdCompressor(level=1).compress(data)

    def expand(data: Bytes) -> bytes:
        return zstandard.ZstdDecompressor().decompress(data)

    found = _family("zstd-1", shrink, expand)
    if importlib.util.find_spec("lz4"):
        block = importlib.import_module("lz4.block")
        found += _family("lz4", block.compress, block.decompress)
    return found


def _family(name: str, shrink: Plain, expand: Plain) -> list[Candidate]:
    return [
        Candidate(name, shrink, expand),
        Candidate(f"all planes + {name}", shrink, expand, planes="all"),
        Candidate(f"high plane + {name}", shrink, expand, planes="high"),
    ]


def blocks() -> Iterator[tuple[str, str, State]]:
    """Model, KV type and the state of one block."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    shapes = [shape for shape in ("starter", "0.5b") if _is_made(shape)]
    for shape in shapes:
        model = Model(str(ensure(shape)))
        tokens = model.vocabulary.tokenize(text, add_special=True, parse_special=False)
        for kv_type in KV_TYPES:
            yield shape, kv_type, saved(model, kv_type, list(tokens)[:BLOCK])
        model.close()


def _is_made(shape: str) -> bool:
    return shape == "starter" or (BENCH / "models" / f"{shape}.gguf").exists()


def saved(model: Model, kv_type: str, tokens: list[int]) -> State:
    """The state after `tokens`, a multiple of four bytes long."""
    context = Context(
        model,
        cells=2 * BLOCK,
        sequences=1,
        chunk=BLOCK,
        outputs=1,
        threads=2,
        threads_batch=2,
        kv_type=kv_type,
    )
    context.batch.add(0, 0, tokens, True)
    context.decode(context.batch)
    state = context.save(0)
    context.close()
    return state[: state.nbytes // 4 * 4]


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(state: State, word: int) -> Iterator[tuple[str, float, float, float]]:
    """Name, gain, and MB/s of packing and unpacking of each candidate."""
    some = [one for one in candidates() if word > 1 or "plane" not in one.name]
    stored = {one.name: one.pack(state, word) for one in some}
    times: dict[str, list[tuple[float, float]]] = {one.name: [] for one in some}
    for one in some:
        assert (one.unpack(stored[one.name], word) == state).all(), one.name
    for _ in range(ROUNDS):
        for one in some:
            took = seconds(lambda one=one: one.pack(state, word))
            back = seconds(lambda one=one: one.unpack(stored[one.name], word))
            times[one.name].append((took, back))
    for name, pairs in times.items():
        size = sum(len(np.frombuffer(part, np.uint8)) for part in stored[name])
        packing, unpacking = (
            state.nbytes / 1e6 / statistics.median(pair[side] for pair in pairs) for side in (0, 1)
        )
        yield name, state.nbytes / size, packing, unpacking


def chosen(state: State, word: int, folder: Path) -> tuple[str, float, float, float]:
    """The same of what the cold tier does, with checksums and a file in the page cache."""
    block = BlockId(b"p" * 16, b"n" * 16, BLOCK)
    tokens = array("i", range(BLOCK))
    path = folder / "block"
    key = b"k" * 16

    def write() -> None:
        path.write_bytes(b"".join(pack_file(key, block, tokens, pack(state, word))))

    def read() -> State:
        with FileIO(path) as file:
            return read_state(file, key, block)[1]

    writing = statistics.median(seconds(write) for _ in range(ROUNDS))
    reading = statistics.median(seconds(read) for _ in range(ROUNDS))
    packed = pack(state, word)
    payload = np.frombuffer(b"".join(packed.pieces), np.uint8)
    assert (unpack(packed.codec, packed.word, packed.raw, payload) == state).all()
    size = state.nbytes / 1e6
    name = "kept: high plane + zstd-1" if packed.codec == PLANES else "kept: as it is"
    return name, state.nbytes / packed.stored, size / writing, size / reading


def records_of(label: str, rows: list[tuple[str, float, float, float]]) -> Iterator[Record]:
    """Three figures for each way."""
    for name, gain, packing, unpacking in rows:
        bar, holds = (f"≥ {MIN_GAIN}", gain >= MIN_GAIN) if gain != 1 else (None, None)
        yield Record(f"{label}, {name}: gain", gain, "x", bar=bar, holds=holds)
        yield Record(f"{label}, {name}: packing", packing, "MB/s")
        fast = unpacking >= MIN_SPEED
        yield Record(
            f"{label}, {name}: unpacking", unpacking, "MB/s", bar=f"≥ {MIN_SPEED:.0f}", holds=fast
        )


def main() -> None:
    """Measure every candidate on every block."""
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, kv_type, state in blocks():
            word = KV_TYPES[kv_type]
            rows = [*compare(state, word), chosen(state, word, Path(folder))]
            records += records_of(f"{shape} {kv_type}", rows)
    publish(
        "kv_codec",
        records,
        notes=(
            "Kept: with checksums, a file written and read through the page cache.",
            "0.5b has random weights; the starter is trained.",
        ),
    )


if __name__ == "__main__":
    main()
