"""The command's way to its node: HTTP, in the same words as any other client."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import httpx
import msgspec

from ai_assistant.cli.errors import CommandError, NodeRefused, NodeUnreachable
from ai_assistant.cli.sse import events
from ai_assistant.config.exposure import is_loopback
from ai_assistant.protocol.chunks import Usage
from ai_assistant.protocol.status import NodeStatus

Body = Mapping[str, Any]
PATIENCE_SECONDS = 900.0
LOOK_SECONDS = 0.5
"""Between two looks at how far a model's load is."""
_TIMEOUT = httpx.Timeout(connect=5, read=120, write=30, pool=5)
_WORTH_WAITING = frozenset({"model_loading", "overloaded", "unavailable"})
_HINTS = {
    "invalid_api_key": "Set AI_ASSISTANT_API_KEY, or name the file with --api-key-file.",
    "model_not_found": "`ai-assistant models` lists what this node serves.",
    "engine_died": "The engine is being restarted; try again, and see `ai-assistant ps`.",
}


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer."""

    text: str = ""
    reasoning: str = ""
    model: str = ""
    finish: str | None = None
    usage: Usage | None = None
    timings: dict[str, Any] | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing comes yet; None when the wait is over."""

    message: str
    progress: float | None
    seconds: float


OnWait = Callable[[Waiting | None], None]


def _silent(_: Waiting | None) -> None:
    """Nobody watches."""


class Client:
    """One node."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        local = is_loopback(httpx.URL(self.url).host)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy for the web has no business between this machine and itself.
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=_TIMEOUT, trust_env=not local
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def status(self) -> NodeStatus:
        """What the node says of itself."""
        with self._translated():
            response = self._http.get("/status")
            _raise_for(response)
        try:
            return msgspec.json.decode(response.content, type=NodeStatus)
        except msgspec.DecodeError as error:
            raise CommandError(
                f"What answers at {self.url} is not an ai-assistant node.",
                "Name the right address with --url, or change the node's --port.",
            ) from error

    def answer(self, body: Body, on_wait: OnWait = _silent) -> Generator[Delta, None, None]:
        """The answer, piece by piece; closing the iterator stops the model."""
        request = {**body, "stream": True, "stream_options": {"include_usage": True}}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._watch_load(body.get("model"), deadline, on_wait)
            try:
                yield from self._stream(request, on_wait)
                return
            except NodeRefused as refusal:
                _wait_out(refusal, deadline, on_wait)

    def _watch_load(self, model: str | None, deadline: float, on_wait: OnWait) -> None:
        """Show how far the load is; a request sent now would only wait without a word."""
        while time.monotonic() < deadline:
            known = self.status().models
            meant = [one for one in known if (one.model.id == model if model else one.default)]
            if not meant or meant[0].state != "loading":
                return
            name, done, left = meant[0].model.id, meant[0].progress, meant[0].eta_seconds
            line = f"{name} is being loaded{f', about {left:.0f} s left' if left else ''}."
            on_wait(Waiting(message=line, progress=done, seconds=LOOK_SECONDS))
            time.sleep(LOOK_SECONDS)

    def _stream(self, request: Body, on_wait: OnWait) -> Iterator[Delta]:
        # A full node looks at the header before it reads the body.
        headers = {"X-Priority": request["priority"]} if "priority" in request else {}
        path = "/v1/chat/completions"
        with (
            self._translated(),
            self._http.stream("POST", path, json=request, headers=headers) as response,
        ):
            if response.is_error:
                response.read()
            _raise_for(response)
            on_wait(None)
            yield from _deltas(response.iter_bytes())

    @contextmanager
    def opened(self, method: str, path: str, **options: Any) -> Generator[httpx.Response]:
        """The answer of any address, still to be read."""
        with self._translated(), self._http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
            _raise_for(response)
            yield response

    def fetch(self, method: str, path: str, **options: Any) -> Any:
        """The object that an address answers with."""
        with self.opened(method, path, **options) as response:
            return msgspec.json.decode(response.read())

    @contextmanager
    def _translated(self) -> Generator[None, None, None]:
        """The one door for this library's errors."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NodeUnreachable(
                f"No node answers at {self.url}.", "Start one with `ai-assistant serve`."
            ) from error
        except httpx.TimeoutException as error:
            raise CommandError(
                f"The node at {self.url} has been silent for {_TIMEOUT.read:.0f} seconds.",
                "See what it does with `ai-assistant ps`.",
            ) from error
        except httpx.TransportError as error:
            raise CommandError(
                f"The connection to {self.url} broke before the answer was complete.",
                "See whether the node still runs with `ai-assistant ps`.",
            ) from error


def _wait_out(refusal: NodeRefused, deadline: float, on_wait: OnWait) -> None:
    """Sleep until the node may be ready; raise the refusal where waiting does not help."""
    seconds = refusal.retry_after
    if refusal.code not in _WORTH_WAITING or seconds is None:
        raise refusal
    if time.monotonic() + seconds > deadline:
        raise refusal
    on_wait(Waiting(message=refusal.message, progress=refusal.progress, seconds=seconds))
    time.sleep(seconds)


def _raise_for(response: httpx.Response) -> None:
    if response.is_error:
        raise refusal_from(response.content, response.status_code, dict(response.headers))


def refusal_from(content: bytes, status: int, headers: Mapping[str, str]) -> NodeRefused:
    """The node's error, from its body; a body of another shape still gives a clear line."""
    try:
        body: object = msgspec.json.decode(content)
    except msgspec.DecodeError:
        body = None
    tree = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    error: Any = tree.get("error")
    if not isinstance(error, dict):
        return NodeRefused(
            f"The node answered with HTTP {status}.", "Is the address of --url a node's?"
        )
    said = cast("dict[str, Any]", error)
    code = str(said.get("code") or "")
    loading = cast("dict[str, Any]", tree.get("loading") or said.get("loading") or said)
    return NodeRefused(
        str(said.get("message") or f"The node answered with HTTP {status}."),
        _HINTS.get(code, ""),
        code=code,
        retry_after=_seconds(headers.get("retry-after") or said.get("retry_after")),
        progress=_seconds(loading.get("progress")),
    )


def _seconds(value: object) -> float | None:
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        return None


def _deltas(pieces: Iterator[bytes]) -> Iterator[Delta]:
    for data in events(pieces):
        if data == "[DONE]":
            return
        body = cast("dict[str, Any]", msgspec.json.decode(data))
        if "error" in body:
            raise _broken_off(data)
        yield delta_from(body)
    raise CommandError(
        "The node ended the connection before the answer was complete.",
        "See whether it still runs with `ai-assistant ps`.",
    )


def _broken_off(data: str) -> CommandError:
    """An error inside an answer: what was printed stands, so it is not tried again."""
    refusal = refusal_from(data.encode(), 200, {})
    return CommandError(refusal.message, refusal.hint)


def delta_from(body: dict[str, Any]) -> Delta:
    """One chunk of a chat completion."""
    choices = cast("list[dict[str, Any]]", body.get("choices") or [{}])
    piece = cast("dict[str, Any]", choices[0].get("delta") or {})
    usage = cast("dict[str, Any] | None", body.get("usage"))
    return Delta(
        text=piece.get("content") or "",
        reasoning=piece.get("reasoning_content") or piece.get("reasoning") or "",
        model=body.get("model") or "",
        finish=choices[0].get("finish_reason"),
        usage=_usage(usage) if usage else None,
        timings=body.get("timings"),
    )


def _usage(body: dict[str, Any]) -> Usage:
    prompt = cast("dict[str, int]", body.get("prompt_tokens_details") or {})
    completion = cast("dict[str, int]", body.get("completion_tokens_details") or {})
    return Usage(
        prompt_tokens=body.get("prompt_tokens", 0),
        completion_tokens=body.get("completion_tokens", 0),
        cached_tokens=prompt.get("cached_tokens", 0),
        reasoning_tokens=completion.get("reasoning_tokens", 0),
    )
