"""Steps of 1 to 512 tokens of one sequence: our products in the CPU kernels against llama.cpp's.

`python -m benchmarks.matmul [--models starter 0.5b 1b moe] [--rounds 12] [--mapped]`

Each step begins with an empty cache, so nearly all of it is products of weights with its tokens;
steps of up to 32 tokens give logits of all, as guesses do, longer ones of the last, as prompts do.
Two processes take turns: one with the kernels that `make setup` built, one with those of
`llama-server`, built from the same source without our parts. The ratio is theirs by ours, the
median over rounds. The floor is the time that it takes to read all weights once, at the speed that
`ai-assistant devices --measure` finds for memory: no step can be faster unless caches hold a part.
Of a mixture it is the time for what one token needs.

`--mapped` leaves weights as they lie in the file, which all processes of a machine share, instead
of having the kernels arrange them anew when they load.
"""

import statistics
import time
from functools import cache
from pathlib import Path

import gguf
import numpy as np

from ai_assistant.devices.measure.memory import measure_memory
from benchmarks import kernel_pair
from benchmarks.models import ensure
from benchmarks.report import Record, publish
from benchmarks.rounds import arguments

TOKENS = (1, 2, 4, 8, 16, 32, 128, 512)
ALL_LOGITS = 32
"""Steps of so many tokens at most give logits of each."""
STEPS = {f"{count} token{'s' if count > 1 else ''}": count for count in TOKENS}
BUFFER = 1 << 30
"""Bytes that are read to measure memory: far more than caches hold."""
READINGS, READING_SECONDS = 5, 0.5
"""The fastest counts: others on the machine only make it slower."""
MAPPED = "mapped, "
"""How the name of a step begins that takes weights as they lie in the file."""
LEAST = 0.1
"""Seconds that a step is repeated for, at least."""


def serve(model: Path) -> None:
    """Time steps."""
    from ai_assistant.engine.kernels import Context, Model

    count = kernel_pair.threads()

    @cache
    def opened(mapped: bool) -> Context:
        return Context(Model(str(model), share_weights=mapped), cells=1024, sequences=1,
                       chunk=max(TOKENS), outputs=ALL_LOGITS,
                       threads=count, threads_batch=count)  # fmt: skip

    tokens = np.random.default_rng(1).integers(100, 4000, max(TOKENS)).tolist()

    def once(context: Context, length: int) -> float:
        outputs = length if length <= ALL_LOGITS else 1
        context.clear()
        context.batch.clear()
        begun = time.perf_counter()
        context.batch.add(0, 0, tokens[:length], outputs)
        context.decode(context.batch)
        context.logits(outputs)[0, 0]
        return time.perf_counter() - begun

    def seconds(name: str) -> float:
        """The median of as many as there is time for."""
        context, length = opened(name.startswith(MAPPED)), STEPS[name.removeprefix(MAPPED)]
        found = [once(context, length)]
        while sum(found) < LEAST:
            found.append(once(context, length))
        return statistics.median(found)

    kernel_pair.answer(seconds)


def read_by_a_step(model: Path) -> int:
    """Bytes of the weights that a token is multiplied with; of a mixture only its experts'."""
    reader = gguf.GGUFReader(model)
    tensors = {one.name: int(one.n_bytes) for one in reader.tensors}
    for name, field in reader.fields.items():
        if name.endswith(".expert_used_count"):
            of = reader.fields[name.replace("_used_count", "_count")].contents()
            for one in tensors:
                if one.endswith("_exps.weight"):
                    tensors[one] = tensors[one] * field.contents() // of
    if "output.weight" in tensors:  # Of these only a row for each token is looked up.
        del tensors["token_embd.weight"]
    return sum(tensors.values())


def memory_speed(count: int) -> float:
    """Bytes per second that so many threads read."""
    found: list[float] = []
    for _ in range(READINGS):
        rates = measure_memory((count,), buffer_bytes=BUFFER, seconds=READING_SECONDS)
        found += [one.bytes_per_second for one in rates]
    return max(found)


def main() -> None:
    """Print the table; write `benchmarks/results/matmul.json`."""
    if model := kernel_pair.child():
        serve(model)
        return
    parser = arguments(__doc__)
    parser.add_argument("--mapped", action="store_true", help="weights as they lie in the file")
    chosen = parser.parse_args()
    steps = [MAPPED * chosen.mapped + step for step in STEPS]
    rounds = chosen.rounds or (4 if chosen.quick else 12)
    count = kernel_pair.threads()
    speed = memory_speed(count)
    records: list[Record] = []
    for name in chosen.models:
        path = ensure(name)
        floor = read_by_a_step(path) / speed
        records.append(Record(f"{name}: floor", 1e3 * floor, "ms"))
        records += kernel_pair.compare("benchmarks.matmul", name, path, steps, rounds)
    notes = [
        "Milliseconds of a step; the ratio is theirs by ours.",
        f"Floor: all weights once, {count} threads reading {speed / 1e9:.1f} GB/s"
        " from memory. Smaller models lie partly in caches.",
    ]
    publish("matmul", records, notes=notes)


if __name__ == "__main__":
    main()
