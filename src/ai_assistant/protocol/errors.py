"""Every error a client can meet, in one tree.

A message tells the user what to do next. `code` is the stable name that goes over the wire;
the gateway alone knows HTTP statuses. An error crosses a process as `ErrorInfo`.
"""

from typing import ClassVar

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An error as data: what goes through a pipe or into a JSON body."""

    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    """Seconds after which the same request may succeed."""
    progress: float | None = None
    """0 to 1, for a model that is loading."""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """How far an answer got before its error."""

    characters: int = 0
    """Of text and reasoning, in all choices."""
    tokens: int = 0
    tool_calls: int = 0

    @property
    def began(self) -> bool:
        """Something was handed on: a new try would repeat it, only going on is right."""
        return bool(self.characters or self.tokens or self.tool_calls)


class AssistantError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "internal_error"
    elsewhere: ClassVar[bool] = False
    """Another worker may succeed with the same request, and asking it does no harm."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        progress: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.progress = progress
        self.reached = Reached()

    @property
    def retry_safe(self) -> bool:
        """The whole request may be given to another worker: nothing of it was handed on."""
        return self.elsewhere and not self.reached.began

    def info(self) -> ErrorInfo:
        """This error as data."""
        return ErrorInfo(
            code=self.code,
            message=self.message,
            param=self.param,
            retry_after=self.retry_after,
            progress=self.progress,
        )


# The request is at fault: sending it again changes nothing.
class RequestError(AssistantError):
    """The client must change the request."""

    code = "invalid_request"


class InvalidRequest(RequestError):
    """A field is missing, of the wrong type or out of range; `param` names it."""


class ContextLengthExceeded(RequestError):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"
    elsewhere = True  # where the context is longer


class UnsupportedFeature(RequestError):
    """The model or this version cannot do what was asked."""

    code = "unsupported_feature"
    elsewhere = True


class CannotContinue(UnsupportedFeature):
    """This worker cannot go on in the middle of this answer."""

    code = "cannot_continue"


class RequestTooLarge(RequestError):
    """The body or the headers are over the limit."""

    code = "request_too_large"


class ModelNotFound(RequestError):
    """No model of that name is known."""

    code = "model_not_found"


class NotFound(RequestError):
    """No such address or object."""

    code = "not_found"


class AccessDenied(RequestError):
    """A key is missing or wrong, or the page that asks is a stranger's."""

    code = "invalid_api_key"


class ModelNotAllowed(RequestError):
    """The key may not use this model."""

    code = "model_not_allowed"


# The server is at fault or busy: the same request may succeed later.
class Unavailable(AssistantError):
    """Try again after `retry_after` seconds."""

    code = "unavailable"
    elsewhere = True


class ModelLoading(Unavailable):
    """The model is being loaded; `progress` says how far it is."""

    code = "model_loading"


class Overloaded(Unavailable):
    """Too many requests wait already."""

    code = "overloaded"


class RateLimited(Unavailable):
    """Whoever asks has had what its key allows for now; `retry_after` says when there is more."""

    code = "rate_limit_exceeded"


class BudgetSpent(RateLimited):
    """The money of the day or the month is spent, or what this could cost is more than is left."""

    code = "insufficient_quota"


class ShuttingDown(Unavailable):
    """The node finishes what it has and takes nothing new."""

    code = "shutting_down"


class EngineError(AssistantError):
    """The engine failed while it worked on the request."""

    code = "engine_error"
    elsewhere = True


class EngineDied(EngineError):
    """The engine process ended; it is being restarted."""

    code = "engine_died"


class ModelLoadFailed(EngineError):
    """The model file could not be loaded."""

    code = "model_load_failed"


# Another server is at fault. Each is worth a try elsewhere; `reached` says whether that is a new
# try or a continuation.
class ProviderError(Unavailable):
    """A provider failed."""

    code = "provider_error"


class ProviderUnreachable(ProviderError):
    """No connection in time: no such name, refused, no certificate, no network."""

    code = "provider_unreachable"


class ProviderBusy(ProviderError):
    """All connections that we allow ourselves to it are in use."""

    code = "provider_busy"


class ProviderKeyRefused(ProviderError):
    """The key is missing, wrong or not allowed; trying again with it is no use."""

    code = "provider_key_refused"


class ProviderOutOfCredit(ProviderError):
    """The account is empty; waiting a moment is no use."""

    code = "provider_out_of_credit"


class ProviderModelMissing(ProviderError):
    """It does not have the model that the settings name."""

    code = "provider_model_missing"


class ProviderRateLimited(ProviderError):
    """Too many requests or tokens; `retry_after` says when."""

    code = "provider_rate_limited"


class ProviderOverloaded(ProviderError):
    """It has too much to do, or its model is being loaded."""

    code = "provider_overloaded"


class ProviderFailed(ProviderError):
    """It says that something went wrong inside it."""

    code = "provider_failed"


class FirstTokenTimeout(ProviderError):
    """No first token in time."""

    code = "provider_first_token_timeout"


class StreamStalled(ProviderError):
    """No next token in time."""

    code = "provider_stalled"


class StreamBroken(ProviderError):
    """The connection ended before the answer did."""

    code = "provider_stream_broken"


class MalformedAnswer(ProviderError):
    """What it sent is not what was agreed."""

    code = "provider_malformed"


class ProviderRejected(RequestError):
    """It says that the request is at fault."""

    code = "provider_rejected"


def _tree(root: type[AssistantError]) -> list[type[AssistantError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


# Of classes that share a code the lowest in the tree wins: it is the one that is raised.
_BY_CODE = {error.code: error for error in _tree(AssistantError)}


def from_info(info: ErrorInfo) -> AssistantError:
    """The error that `info` describes; an unknown code gives the root class."""
    return _BY_CODE.get(info.code, AssistantError)(
        info.message, param=info.param, retry_after=info.retry_after, progress=info.progress
    )
