"""Why a layout was chosen, in words and figures."""

from ai_assistant.devices.layout.predict import Bench, Terms, split, step
from ai_assistant.devices.layout.search import TURNS, Limits, Prediction, Workload
from ai_assistant.protocol.layout import ModelAnatomy

TERMS = {
    "cpu_layers": "layers on the processor",
    "gpu_layers": "layers on the GPU",
    "outside": "embedding, output and the step itself",
    "attention": "looking back at the conversation",
    "crossing": "from one device to the other",
}


def where(anatomy: ModelAnatomy, one: Prediction) -> str:
    """Such as `20 of 32 layers on the GPU, 8 threads`."""
    on_cpu, on_gpu = split(anatomy, one.layout)
    threads = f"{one.layout.threads} thread{'' if one.layout.threads == 1 else 's'}"
    if not one.layout.gpu_layers:
        return f"all on the processor, {threads}"
    if not on_cpu:
        return "all on the GPU"
    return f"{on_gpu} of {on_cpu + on_gpu} layers on the GPU, {threads}"


def terms(
    anatomy: ModelAnatomy, bench: Bench, one: Prediction, workload: Workload
) -> list[tuple[str, float]]:
    """What a token of an answer costs, term by term, in seconds."""
    turn = TURNS[workload]
    found: Terms = step(anatomy, bench, one.layout, turn.streams, turn.prompt + turn.answer / 2)
    return [(words, getattr(found, name)) for name, words in TERMS.items()]


def reasons(anatomy: ModelAnatomy, found: list[Prediction], limits: Limits) -> list[str]:
    """Why the first of these is the first."""
    first, *others = found
    said = [f"It takes {first.turn:.2f} s for a turn, {_memory(first)}."]
    cpu = next((one for one in others if not one.layout.gpu_layers), None)
    if cpu and first.layout.gpu_layers:
        said.append(
            f"On the processor alone a turn would take {cpu.turn / first.turn:.1f} times that."
        )
    more = [one for one in others if one.layout.gpu_layers > first.layout.gpu_layers]
    if more and first.layout.gpu_layers <= len(anatomy.layers):
        said.append("More layers on the GPU would not make a turn shorter.")
    elif limits.gpu and first.layout.gpu_layers <= len(anatomy.layers):
        said.append(f"More layers do not fit into the GPU's {limits.gpu / 1e9:.1f} GB.")
    return said


def refusal(anatomy: ModelAnatomy, limits: Limits, least: Prediction) -> str:
    """What is missing, and what would fit."""
    need = least.memory.ram
    return (
        f"This model takes at least {need / 1e9:.1f} GB of memory with {least.layout.cells:,} "
        f"tokens of context; {limits.ram / 1e9:.1f} GB are free. Its weights alone are "
        f"{anatomy.weights / 1e9:.1f} GB: a shorter --context saves the rest at most; else take a "
        "smaller quantisation of it or a smaller model."
    )


def _memory(one: Prediction) -> str:
    ram = f"{one.memory.ram / 1e9:.1f} GB of memory"
    return f"{ram} and {one.memory.gpu / 1e9:.1f} GB of the GPU's" if one.memory.gpu else ram
