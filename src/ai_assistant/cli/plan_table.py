"""A plan as tables."""

from ai_assistant.cli.output import columns, size
from ai_assistant.devices.layout import words
from ai_assistant.devices.layout.predict import TERMS, Factors
from ai_assistant.devices.layout.search import Prediction
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.layout import ModelAnatomy
from ai_assistant.workers.verifying import Verified

_SHOWN = 6
_LOADING = {
    "auto": "the file is mapped",
    "mmap": "the file is mapped",
    "read": "the file is read: a GPU fetches what stays in main memory more quickly so",
    "direct": "the file is read past the page cache",
}


def layouts(anatomy: ModelAnatomy, found: list[Prediction]) -> str:
    """The best ones with their figures."""
    head = ("layout", "KV cache", "TTFT", "TPOT", "tokens/s", "turn", "memory", "GPU")
    rows = [
        (
            words.where(anatomy, one.layout),
            f"{one.layout.cells:,} {one.layout.kv_type}",
            f"{one.ttft:.2f} s",
            f"{one.tpot * 1000:.1f} ms",
            f"{one.tokens_per_second:,.1f}",
            f"{one.turn:.2f} s",
            size(one.memory.ram),
            " + ".join(size(taken) for taken in one.memory.gpus if taken) or "-",
        )
        for one in found[:_SHOWN]
    ]
    return columns(head, rows)


def settings(anatomy: ModelAnatomy, plan: EnginePlan, first: Prediction) -> str:
    """What the engine would be told."""
    rows = [
        ("layers", words.where(anatomy, first.layout)),
        ("context", f"{plan.context_limit:,} tokens a conversation, {plan.cells:,} in all"),
        ("KV cache", f"{plan.kv_type}, each layer's beside its weights"),
        ("batch", f"{plan.chunk} tokens, computed in one piece (micro-batch {plan.chunk})"),
        ("threads", f"{plan.threads}{' at most' if plan.elastic_threads else ''}"),
        ("loading", _LOADING[plan.load_mode]),
        ("slots", f"{plan.slots}"),
        ("kept in RAM", f"up to {size(plan.warm_bytes)}"),
        ("kept on disk", f"up to {size(plan.cold.bytes)}" if plan.cold else "nothing"),
    ]
    return columns(("setting", "value"), rows)


def terms(rows: list[tuple[str, float, float]], factors: Factors) -> str:
    """What steps consist of, and how far earlier steps of the model have corrected that."""
    head = ("cost of", "a token of an answer", "a piece of the prompt", "corrected by")
    return columns(
        head,
        [
            (said, f"{token * 1000:.2f} ms", f"{piece * 1000:.2f} ms", f"x {factor:.2f}")
            for (said, token, piece), factor in zip(
                rows, (getattr(factors, name) for name in TERMS), strict=True
            )
        ],
    )


def verified(anatomy: ModelAnatomy, one: Verified) -> str:
    """A trial of the whole model, in a sentence."""
    token = f"{one.token * 1000:.1f} ms ({one.token / one.token_predicted - 1:+.0%})"
    piece = f"{one.piece * 1000:.0f} ms ({one.piece / one.piece_predicted - 1:+.0%})"
    return (
        f"Tried, {words.where(anatomy, one.layout)}: a token takes {token}, a piece of a prompt "
        f"{piece}; in brackets how far that is from what was predicted."
    )
