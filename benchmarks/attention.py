"""Steps of many sequences in one cache: our part of the CPU kernels against llama.cpp's own.

`python -m benchmarks.attention [--models starter 0.5b] [--rounds 12]`

Sixteen sequences, four documents of 900 tokens that four of them share each, 200 tokens of their
own behind. Steps of several kinds are computed by two processes in turns: one with the kernels that
`make setup` built, one with those of `llama-server`, built from the same source without our part.
The ratio is theirs by ours, the median over rounds.
"""

import time
from pathlib import Path

import numpy as np

from benchmarks import kernel_pair
from benchmarks.models import ensure
from benchmarks.report import publish
from benchmarks.rounds import arguments

DOCUMENTS, USERS = 4, 16
SHARED, OWN = 900, 200
END = SHARED + OWN
Step = list[tuple[int, int]]
"""Sequences and how many tokens of each."""
STEPS: dict[str, Step] = {
    "one token of 1": [(0, 1)],
    "one token of each of 4 who share": [(0, 1), (4, 1), (8, 1), (12, 1)],
    "one token of each of 16": [(number, 1) for number in range(16)],
    "a token and 5 guesses of 1": [(0, 6)],
    "a token and 11 guesses of 1": [(0, 12)],
    "one token of 14, questions of 24 of 2": [*((n, 1) for n in range(14)), (14, 24), (15, 24)],
    "one token of 14, questions of 60 of 2": [*((n, 1) for n in range(14)), (14, 60), (15, 60)],
    "a prompt of 200": [(0, 200)],
    "a prompt of 500": [(0, 500)],
}


def serve(model: Path) -> None:
    """Fill the cache, then time steps."""
    from ai_assistant.engine.kernels import Context, Model

    threads = kernel_pair.threads()
    context = Context(Model(str(model)), cells=12_288, sequences=USERS, chunk=512, outputs=32,
                      threads=threads, threads_batch=threads)  # fmt: skip
    random = np.random.default_rng(1)

    def compute(step: Step, position: int) -> None:
        context.batch.clear()
        for sequence, count in step:
            context.batch.add(sequence, position, random.integers(100, 4000, count).tolist(), 1)
        context.decode(context.batch)
        context.logits(len(step))[0, 0]

    for document in range(DOCUMENTS):
        for position in range(0, SHARED, 300):
            compute([(document, 300)], position)
        for user in range(document + DOCUMENTS, USERS, DOCUMENTS):
            context.share(document, user, SHARED)
    for user in range(USERS):
        compute([(user, OWN)], SHARED)

    def seconds(name: str) -> float:
        step = STEPS[name]
        begun = time.perf_counter()
        compute(step, END)
        taken = time.perf_counter() - begun
        for sequence, _ in step:
            context.trim(sequence, END)
        return taken

    kernel_pair.answer(seconds)


def main() -> None:
    """Print the table; write `benchmarks/results/attention.json`."""
    if model := kernel_pair.child():
        serve(model)
        return
    parser = arguments(__doc__)
    parser.set_defaults(models=["starter", "0.5b"])
    chosen = parser.parse_args()
    rounds = chosen.rounds or (4 if chosen.quick else 12)
    records = [
        one
        for name in chosen.models
        for one in kernel_pair.compare("benchmarks.attention", name, ensure(name), STEPS, rounds)
    ]
    publish("attention", records, notes=["Milliseconds of a step; the ratio is theirs by ours."])


if __name__ == "__main__":
    main()
