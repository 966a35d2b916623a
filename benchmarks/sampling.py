"""Our sampling in numpy against libllama's sampler chain, on the same rows of logits.

`python -m benchmarks.sampling`. The rows are those of a trained model (the starter), widened to the
sizes of real vocabularies by repeating them 12 nats lower, where tails of large vocabularies lie.
libllama builds an array of candidate structs per token; we look at few numbers. Both draw from the
same distribution; that ours is right is a test's business.
"""

import ctypes
import statistics
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np

from ai_assistant.engine.kernels import Context, Model
from ai_assistant.engine.kernels.libllama import llama as lib
from ai_assistant.engine.sampling import Sampler
from ai_assistant.protocol.requests import Sampling
from benchmarks.models import ensure
from benchmarks.report import Record, publish

TEXT = (
    "The capital of France is Paris. It has many museums and people like to walk along the river "
    "in the evening when the lights are on. Once upon a time a small fox lived in a warm house."
)
SIZES = (16_384, 32_768, 131_072)
CASES = {
    "greedy": Sampling(temperature=0),
    "temperature 1": Sampling(temperature=1.0),
    "temperature 0.7, top-p 0.9": Sampling(temperature=0.7, top_p=0.9),
    "temperature 0.8, top-k 40, top-p 0.95, min-p 0.05": Sampling(
        temperature=0.8, top_k=40, top_p=0.95, min_p=0.05
    ),
}


def trained_rows(model: Model) -> np.ndarray:
    """One row of logits for each token of the text."""
    context = Context(
        model, cells=512, sequences=1, chunk=64, outputs=1, threads=1, threads_batch=1
    )
    tokens = model.vocabulary.tokenize(TEXT, add_special=True, parse_special=False)
    rows: list[np.ndarray] = []
    for position, token in enumerate(tokens):
        context.batch.clear()
        context.batch.add(0, position, [token], True)
        context.decode(context.batch)
        rows.append(context.logits(1)[0].copy())
    context.close()
    return np.array(rows)


def widened(rows: np.ndarray, size: int) -> np.ndarray:
    """The same rows with a longer tail."""
    copies = size // rows.shape[1]
    return np.concatenate([rows - 12 * copy for copy in range(copies)], axis=1)


def ours(sampling: Sampling) -> Callable[[np.ndarray], int]:
    """Our choice of a token."""
    sampler = Sampler(sampling)
    if sampler.plain_greedy:
        return lambda row: int(row.argmax())
    return lambda row: sampler.choose(row, array("i"))


def theirs(sampling: Sampling, size: int) -> Callable[[np.ndarray], int]:
    """libllama's chain, fed as `llama_sampler_sample` does it: a candidate per token."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in _links(sampling):
        lib.llama_sampler_chain_add(chain, sampler)
    data = np.zeros(size, np.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")]))
    ids = np.arange(size, dtype=np.int32)
    struct = lib.llama_token_data_array()

    def pick(row: np.ndarray) -> int:
        data["id"] = ids
        data["logit"] = row
        struct.data = ctypes.cast(data.ctypes.data, ctypes.POINTER(lib.llama_token_data))
        struct.size, struct.selected, struct.sorted = size, -1, False
        lib.llama_sampler_apply(chain, ctypes.byref(struct))
        return int(struct.data[struct.selected].id)

    return pick


def _links(sampling: Sampling) -> list[Any]:
    if sampling.temperature == 0:
        return [lib.llama_sampler_init_greedy()]
    links: list[Any] = []
    if sampling.top_k:
        links.append(lib.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p:
        links.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p:
        links.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
    links.append(lib.llama_sampler_init_temp(sampling.temperature or 1.0))
    links.append(lib.llama_sampler_init_dist(1))
    return links


def microseconds(pick: Callable[[np.ndarray], int], rows: np.ndarray) -> float:
    """Per token, the median over the rows' rounds."""
    times: list[float] = []
    for _ in range(15):
        begun = time.perf_counter()
        for row in rows:
            pick(row)
        times.append((time.perf_counter() - begun) / len(rows) * 1e6)
    return statistics.median(times)


def main() -> None:
    """Measure every case at every size, ours and theirs in turns."""
    base = trained_rows(Model(str(ensure("starter"))))
    records: list[Record] = []
    for size in SIZES:
        rows = widened(base, size)
        for name, sampling in CASES.items():
            mine = microseconds(ours(sampling), rows)
            other = microseconds(theirs(sampling, size), rows)
            ratio = mine / other
            records.append(
                Record(f"{size:,} tokens: {name}", mine, "µs", other, ratio, "< 1", ratio < 1)
            )
    publish("sampling", records, notes=("Peer: libllama's sampler chain over candidate structs.",))


if __name__ == "__main__":
    main()
