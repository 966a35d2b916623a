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


class AssistantError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "internal_error"

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


class UnsupportedFeature(RequestError):
    """The model or this version cannot do what was asked."""

    code = "unsupported_feature"


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


# The server is at fault or busy: the same request may succeed later.
class Unavailable(AssistantError):
    """Try again after `retry_after` seconds."""

    code = "unavailable"


class ModelLoading(Unavailable):
    """The model is being loaded; `progress` says how far it is."""

    code = "model_loading"


class Overloaded(Unavailable):
    """Too many requests wait already."""

    code = "overloaded"


class ShuttingDown(Unavailable):
    """The node finishes what it has and takes nothing new."""

    code = "shutting_down"


class EngineError(AssistantError):
    """The engine failed while it worked on the request."""

    code = "engine_error"


class EngineDied(EngineError):
    """The engine process ended; it is being restarted."""

    code = "engine_died"


class ModelLoadFailed(EngineError):
    """The model file could not be loaded."""

    code = "model_load_failed"


def _tree(root: type[AssistantError]) -> list[type[AssistantError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


# Of classes that share a code the lowest in the tree wins: it is the one that is raised.
_BY_CODE = {error.code: error for error in _tree(AssistantError)}


def from_info(info: ErrorInfo) -> AssistantError:
    """The error that `info` describes; an unknown code gives the root class."""
    return _BY_CODE.get(info.code, AssistantError)(
        info.message, param=info.param, retry_after=info.retry_after, progress=info.progress
    )
