"""The body of an error as the client of an address expects it: each API has its own shape."""

from typing import Any

import msgspec

from ai_assistant.gateway.errors import error_body, verdict
from ai_assistant.protocol.errors import AssistantError, ContextLengthExceeded

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


def anthropic_error(error: AssistantError, request_id: str) -> dict[str, Any]:
    """Anthropic's shape, also of the event `error`."""
    kind = _ANTHROPIC_KINDS.get(verdict(error).status, "api_error")
    message = error.message
    if isinstance(error, ContextLengthExceeded):
        # The words by which Claude Code knows that it must shorten the conversation.
        message = f"prompt is too long: {message}"
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": f"req_{request_id}",
    }


def ollama_error(error: AssistantError) -> bytes:
    """Ollama's shape, also of a stream's line."""
    return msgspec.json.encode({"error": error.message})
