"""The events of OpenAI's API, and of the many servers that nearly speak it, as pieces."""

from typing import Any

import msgspec

from ai_assistant.protocol.chunks import (
    FinishReason,
    TokenChunk,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    Usage,
)
from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.protocol.spelling import Spelled
from ai_assistant.workers.remote.closing import Closing
from ai_assistant.workers.remote.refusals import refusal_inside

_DONE = b"[DONE]"
_FINISHES: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Top(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None


class _Logprob(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _FromNode(msgspec.Struct):
    spelled: Spelled | None = None
    leaving: bool = False
    ticket: str = ""


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: _Logprobs | None = None
    ai_assistant: _FromNode | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Event)


class _Calls:
    """Numbers the function calls of one choice.

    Some servers number none of them, some give every one the number 0; a new id is a new call.
    """

    def __init__(self) -> None:
        self._last: str | None = None
        self._numbers: dict[tuple[int | None, str | None], int] = {}
        self.count = 0

    def delta(self, call: _Call) -> ToolCallDelta:
        function = call.function or _Function()
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        number, new = self._number(call)
        return ToolCallDelta(
            index=number,
            id=(call.id or f"call_{number}") if new else None,
            name=(function.name or "") if new else None,
            arguments=arguments or "",
        )

    def _number(self, call: _Call) -> tuple[int, bool]:
        known = self._numbers.get((call.index, call.id))
        if known is None and not call.id:
            # A later part: of the call with this number, or of the last one.
            same = [n for (index, _), n in self._numbers.items() if index == call.index]
            known = same[-1] if same else None
        if known is not None:
            return known, False
        number = self.count
        self.count += 1
        self._numbers[(call.index, call.id or None)] = number
        return number, True


class OpenAIReader:
    """One answer, of a chat or of a text."""

    def __init__(self, provider: str, n: int, closing: Closing, *, spells: bool = False) -> None:
        """`spells`: it is a node of ours that was asked for the tokens, too."""
        self._spells = spells
        self._provider = provider
        self._closing = closing
        self._calls = [_Calls() for _ in range(n)]
        self.ended = False

    @property
    def whole(self) -> bool:
        """Every choice has ended."""
        return self._closing.whole

    def read(self, event: bytes) -> list[TokenChunk]:
        """The pieces of one event."""
        if event == _DONE:
            self.ended = True
            return []
        return self._pieces(event)

    def read_whole(self, body: bytes) -> list[TokenChunk]:
        """The pieces of an answer that came as one object."""
        self.ended = True
        return self._pieces(body)

    def close(self) -> list[TokenChunk]:
        """The last pieces; a server that says that it is done need not have said why."""
        if self.ended:
            for index, calls in enumerate(self._calls):
                self._closing.end(index, "tool_calls" if calls.count else "stop", None)
        return self._closing.close()

    def _pieces(self, data: bytes) -> list[TokenChunk]:
        try:
            event = _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedAnswer(f"{self._provider} sent what is not an answer: {error}") from None
        if event.error is not None:
            raise refusal_inside(self._provider, event.error)
        if event.usage is not None:
            self._closing.usage = _usage(event.usage) or self._closing.usage
        pieces: list[TokenChunk] = []
        for choice in event.choices or ():
            if not 0 <= choice.index < len(self._calls):
                raise MalformedAnswer(f"{self._provider} sent an answer that nobody asked for.")
            if piece := self._piece(choice):
                pieces.append(piece)
        return pieces

    def _piece(self, choice: _Choice) -> TokenChunk | None:
        delta = choice.delta or choice.message or _Delta()
        text, reasoning = _texts(delta)
        calls = self._calls[choice.index]
        deltas = tuple(map(calls.delta, delta.tool_calls)) if delta.tool_calls else ()
        logprobs = _logprobs(choice.logprobs) if choice.logprobs else ()
        text = choice.text or text
        if choice.finish_reason:
            if choice.finish_reason == "error":
                raise refusal_inside(self._provider, "it broke off with an error")
            finish = _FINISHES.get(choice.finish_reason, "stop")
            if finish == "stop" and calls.count:
                finish = "tool_calls"
            stop = choice.stop_reason if isinstance(choice.stop_reason, str) else None
            self._closing.end(choice.index, finish, stop)
        node = (choice.ai_assistant if self._spells else None) or _FromNode()
        if not (text or reasoning or deltas or logprobs or node.leaving):
            return None
        return TokenChunk(
            index=choice.index,
            text=text,
            reasoning=reasoning,
            tool_calls=deltas,
            logprobs=logprobs,
            spelled=node.spelled,
            leaving="" if node.leaving else None,
            ticket=node.ticket,
        )


def _texts(delta: _Delta) -> tuple[str, str]:
    reasoning = delta.reasoning_content or delta.reasoning or ""
    content = delta.content
    if not isinstance(content, list):
        return content or delta.refusal or "", reasoning
    text = ""
    for part in content:  # Mistral's way of telling thoughts from text
        if part.get("type") == "thinking":
            inner: Any = part.get("thinking")
            reasoning += inner if isinstance(inner, str) else _joined(inner)
        else:
            text += str(part.get("text") or "")
    return text, reasoning


def _joined(parts: Any) -> str:
    return "".join(str(part.get("text") or "") for part in parts or ())


def _logprobs(found: _Logprobs) -> tuple[TokenLogprob, ...]:
    if found.content:
        return tuple(
            TokenLogprob(
                one.token,
                _bytes(one),
                one.logprob,
                tuple(TopLogprob(top.token, _bytes(top), top.logprob) for top in one.top_logprobs)
                if one.top_logprobs
                else (),
            )
            for one in found.content
        )
    tops = found.top_logprobs or []
    return tuple(
        TokenLogprob(
            token,
            token.encode(),
            logprob or 0.0,
            tuple(
                TopLogprob(text, text.encode(), value)
                for text, value in ((tops[i] or {}) if i < len(tops) else {}).items()
            ),
        )
        for i, (token, logprob) in enumerate(
            zip(found.tokens or (), found.token_logprobs or (), strict=False)
        )
    )


def _bytes(one: _Top) -> bytes:
    if one.bytes is None:
        return one.token.encode()
    return bytes(byte for byte in one.bytes if 0 <= byte < 256)


def _usage(found: _Usage) -> Usage | None:
    if found.prompt_tokens is None:
        return None
    prompt = found.prompt_tokens_details or _Details()
    completion = found.completion_tokens_details or _Details()
    return Usage(
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens or 0,
        cached_tokens=prompt.cached_tokens or found.prompt_cache_hit_tokens or 0,
        reasoning_tokens=completion.reasoning_tokens or 0,
    )
