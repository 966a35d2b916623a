"""What providers charge, from a library that keeps the list; it is data and needs no network."""

from decimal import Decimal
from typing import Any

from ai_assistant.protocol.offers import Price
from ai_assistant.workers.remote.kinds import Kind

_NAMES = {
    "openai": "openai",
    "anthropic": "anthropic",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "groq": "groq",
    "gemini": "google",
    "together": "together",
    "fireworks": "fireworks",
    "xai": "x-ai",
}
"""Our kinds in the library's words."""
_FREE = Price(input=0.0, output=0.0)
_SAMPLE = 1000


def known_price(kind_name: str, kind: Kind, model: str, *, own_machine: bool) -> Price | None:
    """Dollars per million tokens, for short prompts; None: not known, which is not free."""
    if own_machine and kind.free:
        return _FREE
    # Imported when it is needed: the list takes a third of a second to load.
    from genai_prices import Usage, calc_price

    provider = _NAMES.get(kind_name)
    if provider is None:
        return None
    try:
        found: Any = calc_price(
            Usage(input_tokens=_SAMPLE, output_tokens=_SAMPLE),
            model_ref=model,
            provider_id=provider,
        )
        cached: Any = calc_price(
            Usage(input_tokens=_SAMPLE, cache_read_tokens=_SAMPLE),
            model_ref=model,
            provider_id=provider,
        )
    except (LookupError, ValueError):
        return None
    return Price(
        input=_per_million(found.input_price),
        output=_per_million(found.output_price),
        cached_input=_per_million(cached.input_price),
    )


def _per_million(sample: Decimal) -> float:
    return round(float(sample) * 1_000_000 / _SAMPLE, 6)
