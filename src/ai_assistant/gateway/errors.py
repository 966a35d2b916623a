"""Errors on their way out: class to HTTP status, in one table, and the JSON body."""

from math import ceil
from typing import Any, NamedTuple

import msgspec

from ai_assistant.protocol.errors import (
    AccessDenied,
    AssistantError,
    EngineDied,
    FirstTokenTimeout,
    InvalidRequest,
    ModelLoading,
    ModelNotAllowed,
    ModelNotFound,
    NotFound,
    Overloaded,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    RateLimited,
    RequestError,
    RequestTooLarge,
    StreamStalled,
    Unavailable,
)


class StrangerRefused(AccessDenied):
    """A web page or a host name that is not ours asks."""

    code = "origin_not_allowed"


class KeyTooWeak(AccessDenied):
    """The key is known, and this is not for its holder."""

    code = "key_not_allowed"


class MethodNotAllowed(RequestError):
    """The address exists, the method does not."""

    code = "method_not_allowed"


class HeadersTooLarge(RequestTooLarge):
    """The request line and the headers are over the limit."""


class SlowUpload(RequestError):
    """The body stopped coming."""

    code = "request_timeout"


class Verdict(NamedTuple):
    """What a client sees of an error's class."""

    status: int
    kind: str


# The nearest class up the tree decides.
_VERDICTS: dict[type[AssistantError], Verdict] = {
    AssistantError: Verdict(500, "server_error"),
    RequestError: Verdict(400, "invalid_request_error"),
    RequestTooLarge: Verdict(413, "invalid_request_error"),
    HeadersTooLarge: Verdict(431, "invalid_request_error"),
    SlowUpload: Verdict(408, "invalid_request_error"),
    MethodNotAllowed: Verdict(405, "invalid_request_error"),
    ModelNotAllowed: Verdict(403, "permission_error"),
    ModelNotFound: Verdict(404, "not_found_error"),
    NotFound: Verdict(404, "not_found_error"),
    AccessDenied: Verdict(401, "authentication_error"),
    StrangerRefused: Verdict(403, "permission_error"),
    KeyTooWeak: Verdict(403, "permission_error"),
    Unavailable: Verdict(503, "unavailable_error"),
    Overloaded: Verdict(429, "overloaded_error"),
    RateLimited: Verdict(429, "rate_limit_error"),
    EngineDied: Verdict(502, "server_error"),
    ProviderError: Verdict(502, "server_error"),
    ProviderRateLimited: Verdict(429, "rate_limit_error"),
    ProviderOverloaded: Verdict(503, "overloaded_error"),
    FirstTokenTimeout: Verdict(504, "timeout_error"),
    StreamStalled: Verdict(504, "timeout_error"),
}
_RETRY_SECONDS = 5.0


def verdict(error: AssistantError) -> Verdict:
    """The status and the `type` of an error."""
    return next(_VERDICTS[kind] for kind in type(error).__mro__ if kind in _VERDICTS)


def error_object(error: AssistantError) -> dict[str, Any]:
    """The value of `error` in the answer's body."""
    fields: dict[str, Any] = {
        "message": error.message,
        "type": verdict(error).kind,
        "code": error.code,
        "param": error.param,
    }
    if isinstance(error, ModelLoading):
        fields["loading"] = {
            "state": "loading",
            "progress": error.progress or 0.0,
            "eta_seconds": error.retry_after,
        }
    return fields


def error_body(error: AssistantError) -> bytes:
    """The whole JSON body."""
    return msgspec.json.encode({"error": error_object(error)})


def error_headers(error: AssistantError) -> list[tuple[bytes, bytes]]:
    """Headers that belong to this error."""
    if isinstance(error, Unavailable):
        seconds = error.retry_after or _RETRY_SECONDS
        return [(b"retry-after", str(max(1, ceil(seconds))).encode())]
    if verdict(error).status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return []


def invalid(param: str, problem: str) -> InvalidRequest:
    """`param` is wrong: the message begins with its name."""
    return InvalidRequest(f"{param}: {problem}", param=param)
