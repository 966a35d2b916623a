"""Why a layout was chosen, in words and figures."""

from collections.abc import Mapping

from ai_assistant.devices.layout.predict import NEUTRAL, Bench, Factors, Layout, Terms, split, step
from ai_assistant.devices.layout.room import Limits, Memory, kv_bytes
from ai_assistant.devices.layout.search import TURNS, Prediction, Workload
from ai_assistant.protocol.layout import ModelAnatomy

WORDS = {
    "cpu_layers": "layers on the processor",
    "gpu_layers": "layers on the GPU",
    "mixed_layers": "layers on both: the feed-forward part in main memory",
    "outside": "embedding, output, the step itself; less what the last layer leaves out",
    "attention": "looking back at the conversation",
    "crossing": "from one device to the other",
}


def where(anatomy: ModelAnatomy, layout: Layout) -> str:
    """Such as `20 of 32 layers on the GPU, 8 threads`."""
    found = split(anatomy, layout)
    threads = f"{layout.threads} thread{'' if layout.threads == 1 else 's'}"
    on_gpu, total = sum(found.gpus), len(anatomy.layers)
    if not layout.gpu_layers:
        return f"all on the processor, {threads}"
    part = "experts" if anatomy.experts else "feed-forward part"
    gpus = "the GPU"
    if sum(map(bool, found.gpus)) > 1:
        gpus = f"{sum(map(bool, found.gpus))} GPUs ({' + '.join(map(str, found.gpus))})"
    said = f"all on {gpus}" if on_gpu == total else f"{on_gpu} of {total} layers on {gpus}"
    if found.mixed:
        said += f", the {part} of {found.mixed} layers in main memory"
    return said if on_gpu == total and not found.mixed else f"{said}, {threads}"


def terms(
    anatomy: ModelAnatomy,
    bench: Bench,
    one: Prediction,
    workload: Workload,
    factors: Factors = NEUTRAL,
) -> list[tuple[str, float, float]]:
    """What a token of an answer costs, and a piece of its prompt: term by term, in seconds."""
    turn = TURNS[workload]
    depth = turn.prompt + turn.answer / 2
    token: Terms = step(
        anatomy, bench, one.layout, turn.streams, depth, streams=turn.streams, factors=factors
    )
    chunk = min(one.layout.chunk, turn.prompt)
    piece: Terms = step(anatomy, bench, one.layout, chunk, turn.known, factors=factors)
    return [(said, getattr(token, name), getattr(piece, name)) for name, said in WORDS.items()]


def reasons(
    anatomy: ModelAnatomy, found: list[Prediction], limits: Limits, workload: Workload = "chat"
) -> list[str]:
    """Why the first of these is the first, setting by setting."""
    first, *others = found
    layout = first.layout
    said = [
        f"It takes {first.turn:.2f} s for a turn of {workload} work, {_taken(first.memory)}.",
        *_of_layers(anatomy, first, others, limits),
        *_of_threads(first, others),
        _of_cache(anatomy, first, others),
    ]
    chunks = {one.layout.chunk for one in found}
    if len(chunks) > 1:
        said.append(f"Pieces of {layout.chunk} tokens: the quickest of {_listed(chunks)}.")
    return [one for one in said if one]


def _of_layers(
    anatomy: ModelAnatomy, first: Prediction, others: list[Prediction], limits: Limits
) -> list[str]:
    layout, said = first.layout, list[str]()
    same = [one for one in others if _cache(one.layout) == _cache(layout)]
    cpu = next((one for one in same if not one.layout.gpu_layers), None)
    if cpu and layout.gpu_layers:
        said.append(
            f"On the processor alone a turn would take {cpu.turn / first.turn:.1f} times that."
        )
    found = split(anatomy, layout)
    if found.mixed:
        part = "experts" if anatomy.experts else "feed-forward part"
        plain = next(
            (one for one in same if one.layout.gpu_layers and not one.layout.feeds_on_cpu), None
        )
        if plain:
            said.append(
                f"With whole layers on the processor instead of their {part} a turn would take "
                f"{plain.turn / first.turn:.2f} times that."
            )
    if layout.gpu_layers > len(anatomy.layers) and not found.mixed:
        return said
    more = [one for one in same if one.layout.gpu_layers > layout.gpu_layers]
    if more:
        said.append("More layers on the GPU would not make a turn shorter.")
    elif limits.gpus:
        said.append(f"More does not fit into the GPU's {sum(limits.gpus) / 1e9:.1f} GB.")
    return said


def _of_threads(first: Prediction, others: list[Prediction]) -> list[str]:
    other = next((one for one in others if one.layout.threads != first.layout.threads), None)
    if other is None:
        return []
    factor = other.turn / first.turn
    count = other.layout.threads
    said = f"{count} thread{'s' if count > 1 else ''} would take {factor:.2f} times that"
    return [f"{said}: fewer are kept." if factor < 1.01 else f"{said}."]


def _of_cache(anatomy: ModelAnatomy, first: Prediction, others: list[Prediction]) -> str:
    layout = first.layout
    size = kv_bytes(anatomy, layout) * len(anatomy.layers)
    said = f"{layout.cells:,} tokens of {layout.kv_type} KV cache take {size / 1e9:.2f} GB"
    other = next((one for one in others if _cache(one.layout) != _cache(layout)), None)
    if other is None:
        return f"{said}."
    rest = f"{other.layout.cells:,} of {other.layout.kv_type}"
    return f"{said}; with {rest} a turn would take {other.turn / first.turn:.2f} times that."


def _cache(layout: Layout) -> tuple[int, str]:
    return layout.cells, layout.kv_type


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def refusal(
    anatomy: ModelAnatomy, limits: Limits, layout: Layout, least: Memory, smaller: Mapping[str, int]
) -> str:
    """What is missing, and what is nearest to it and would fit.

    `smaller`: bytes that the weights would have in other quantisations.
    """
    need = (
        f"This model takes at least {least.ram / 1e9:.1f} GB of memory with {layout.cells:,} "
        f"tokens of {layout.kv_type} KV cache; {limits.ram / 1e9:.1f} GB are free."
    )
    if any(limits.gpus):
        need += f" The GPU has {sum(limits.gpus) / 1e9:.1f} GB."
    cache = kv_bytes(anatomy, layout) * len(anatomy.layers)
    room = limits.ram - (least.ram - cache)
    each = cache / layout.cells if layout.cells else 0
    if each and room >= 512 * each:
        return f"{need} With --context {int(room / each) // 256 * 256} it would fit."
    rest = least.ram - anatomy.weights
    for name, size in smaller.items():
        if size + rest <= limits.ram:
            return (
                f"{need} Its weights are {anatomy.weights / 1e9:.1f} GB; as {name} they would be "
                f"about {size / 1e9:.1f} GB and fit."
            )
    return (
        f"{need} Its weights alone are {anatomy.weights / 1e9:.1f} GB, and no quantisation makes "
        "them small enough: take a smaller model, or the starter."
    )


QUANTISATIONS = {"Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.67, "Q4_K_M": 4.85, "Q3_K_M": 3.91,
                 "Q2_K": 3.0}  # fmt: skip
"""Bits of a weight, about."""


def smaller_weights(anatomy: ModelAnatomy) -> dict[str, int]:
    """Bytes in every quantisation that is smaller than the model's own."""
    parts = (*anatomy.layers, anatomy.embedding, anatomy.output)
    values = sum(part.values for part in parts)
    sizes = {name: int(values * bits / 8) for name, bits in QUANTISATIONS.items()}
    return {name: size for name, size in sizes.items() if size < 0.97 * anatomy.weights}


def _taken(memory: Memory) -> str:
    ram = f"{memory.ram / 1e9:.1f} GB of memory"
    used = [size for size in memory.gpus if size]
    if not used:
        return ram
    sizes = " + ".join(f"{size / 1e9:.1f}" for size in used)
    return f"{ram} and {sizes} GB on the GPU{'s' if len(used) > 1 else ''}"
