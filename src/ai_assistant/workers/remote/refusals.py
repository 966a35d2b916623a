"""What a server's refusal means: status, headers and body to one error of ours."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec

from ai_assistant.protocol.errors import (
    AssistantError,
    CannotContinue,
    ContextLengthExceeded,
    ProviderFailed,
    ProviderKeyRefused,
    ProviderModelMissing,
    ProviderOutOfCredit,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejected,
    RequestTooLarge,
    UnsupportedFeature,
)

_WORDS = 300
"""Characters of a server's message that are passed on."""
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context window",
    "exceed_context_size",
    "maximum context",
    "prompt is too long",
    "too many tokens",
    "exceeds the available context",
    "input is too long",
    "max_model_len",
)
_UNABLE = (
    "--enable-auto-tool-choice",
    "--tool-call-parser",
    "does not support tools",
    "tools param requires",
)
"""It was started, or the model was made, without what was asked for: vLLM, Ollama, llama-server."""
_NO_MODEL = ("model_not_found", "model not found", "no such model", "does not exist")
_NO_MONEY = ("insufficient_quota", "credit balance", "insufficient balance", "billing", "credits")
_BAD_KEY = ("invalid_api_key", "authentication_error", "incorrect api key", "permission_error")
_TYPES = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "server_overloaded": 529,
    "unavailable_error": 503,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "request_too_large": 413,
    "billing_error": 402,
    "timeout_error": 504,
    "api_error": 500,
    "server_error": 500,
}
"""What an error inside a stream calls itself, as the status that it would have had."""


class Said(msgspec.Struct, frozen=True):
    """A server's own words."""

    message: str
    kind: str = ""
    """Its type and code, in lower case."""
    status: int | None = None


def refusal(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> AssistantError:
    """The error that an answer of this status means."""
    if 300 <= status < 400:
        return ProviderFailed(
            f"{provider} sends us on to another address, and nothing is sent there: "
            "set base_url to where it really is."
        )
    said = _said(body)
    wait = retry_after(headers, time.time() if now is None else now)
    return _meaning(provider, status, said, wait)


def refusal_inside(provider: str, error: object) -> AssistantError:
    """The error that an event inside a stream means."""
    said = _from_error(error)
    status = said.status or next(
        (status for name, status in _TYPES.items() if name in said.kind.split()), 500
    )
    return _meaning(provider, status, said, None)


def _meaning(provider: str, status: int, said: Said, wait: float | None) -> AssistantError:
    words = f"{said.kind} {said.message.lower()}"
    text = f"{provider} says: {_shortened(said.message)}" if said.message else ""
    if status in (400, 413, 422, 500) and _names(_TOO_LONG, words):
        return ContextLengthExceeded(text or "The prompt is too long.", param="messages")
    if status == 400 and CannotContinue.code in said.kind.split():
        return CannotContinue(text)
    if status in (400, 500, 501) and _names(_UNABLE, words):
        return UnsupportedFeature(text)
    if status == 402 or (status in (400, 403, 429) and _names(_NO_MONEY, words)):
        return ProviderOutOfCredit(text or f"The account at {provider} is empty; fill it up.")
    if status in (401, 403) or (status == 400 and _names(_BAD_KEY, words)):
        hint = f"{provider} does not accept the key; set another with `providers add`."
        return ProviderKeyRefused(f"{hint} It says: {_shortened(said.message)}" if text else hint)
    if status == 404 or (status == 400 and _names(_NO_MODEL, words)):
        return ProviderModelMissing(text or f"{provider} does not know that model or address.")
    if status == 429:
        return ProviderRateLimited(
            text or f"{provider} takes no more requests for now.", retry_after=wait
        )
    if status in (503, 529):
        return ProviderOverloaded(
            text or f"{provider} has too much to do; try again.", retry_after=wait
        )
    if status == 413:
        return RequestTooLarge(text or f"The request is too large for {provider}.")
    if status >= 500 or status in (408, 409, 425):
        return ProviderFailed(text or f"{provider} failed (HTTP {status}).", retry_after=wait)
    return ProviderRejected(text or f"{provider} refuses the request (HTTP {status}).")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from any of the headers that servers use; names are in lower case."""
    if (value := headers.get("retry-after-ms")) is not None:
        seconds = _number(value)
        return None if seconds is None else seconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), 86_400.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _said(body: bytes) -> Said:
    try:
        tree: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        # Proxies in between answer with pages; their text helps nobody.
        return Said("")
    if isinstance(tree, list) and tree:
        tree = cast("list[object]", tree)[0]  # Google wraps its errors in a list
    if not isinstance(tree, dict):
        return Said("")
    fields = cast("dict[str, Any]", tree)
    return _from_error(fields.get("error") or fields)


def _from_error(error: object) -> Said:
    if isinstance(error, str):
        return Said(error)
    if not isinstance(error, dict):
        return Said("")
    fields = cast("dict[str, Any]", error)
    message: object = fields.get("message") or fields.get("detail") or fields.get("msg") or ""
    code: Any = fields.get("code")
    kind = " ".join(str(part).lower() for part in (fields.get("type"), code) if part)
    known = isinstance(code, int) and 400 <= code < 600
    return Said(message if isinstance(message, str) else "", kind, code if known else None)


def _names(phrases: tuple[str, ...], words: str) -> bool:
    return any(phrase in words for phrase in phrases)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WORDS else f"{line[: _WORDS - 1]}…"
