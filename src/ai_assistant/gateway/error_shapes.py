"""The body of an error as the client of an address expects it: each API has its own shape."""

from typing import Any

import msgspec

from ai_assistant.gateway.errors import error_body, error_object, verdict
from ai_assistant.protocol.errors import AssistantError, ContextLengthExceeded, Reached

_NOTHING = Reached()

# Anthropic names the kinds after the status.
_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def shaped_body(error: AssistantError, path: str, request_id: str) -> bytes:
    """The whole JSON body of an error at that address."""
    if path.startswith("/v1/messages"):
        return msgspec.json.encode(anthropic_error(error, request_id))
    if path.startswith("/api/"):
        return ollama_error(error)
    return error_body(error)


def broken_off(error: AssistantError, reached: Reached) -> dict[str, Any]:
    """The message and, where the client had some of the answer, how far that got."""
    if not reached.began:
        return {"message": error.message}
    return {"message": error.message + _how_far(reached), "reached": reached}


def broken_off_openai(error: AssistantError, reached: Reached) -> bytes:
    """OpenAI's shape of an error in a stream."""
    return msgspec.json.encode({"error": error_object(error) | broken_off(error, reached)})


def anthropic_error(
    error: AssistantError, request_id: str, reached: Reached = _NOTHING
) -> dict[str, Any]:
    """Anthropic's shape, also of the event `error`."""
    kind = _ANTHROPIC_KINDS.get(verdict(error).status, "api_error")
    told = broken_off(error, reached)
    if isinstance(error, ContextLengthExceeded):
        # The words by which Claude Code knows that it must shorten the conversation.
        told["message"] = f"prompt is too long: {told['message']}"
    return {
        "type": "error",
        "error": {"type": kind, **told},
        "request_id": f"req_{request_id}",
    }


def ollama_error(error: AssistantError, reached: Reached = _NOTHING) -> bytes:
    """Ollama's shape, also of a stream's line."""
    told = broken_off(error, reached)
    return msgspec.json.encode({"error": told.pop("message"), **told})


def _how_far(reached: Reached) -> str:
    """Behind an error's own words."""
    counts = {
        "character": reached.characters,
        "token": reached.tokens,
        "tool call": reached.tool_calls,
    }
    told = [f"{count:,} {what}{'s' * (count != 1)}" for what, count in counts.items() if count]
    return f" The answer ended after {', '.join(told)}."
