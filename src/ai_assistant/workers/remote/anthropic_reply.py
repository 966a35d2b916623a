"""The events of Anthropic's Messages API as pieces."""

from typing import Any

import msgspec

from ai_assistant.protocol.chunks import FinishReason, TokenChunk, ToolCallDelta, Usage
from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.workers.remote.closing import Closing
from ai_assistant.workers.remote.refusals import refusal_inside

_FINISHES: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Message(msgspec.Struct):
    content: list[_Block] | None = None
    usage: _Usage | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


_events = msgspec.json.Decoder(_Event)
_messages = msgspec.json.Decoder(_Message)


class AnthropicReader:
    """One answer."""

    def __init__(self, provider: str, closing: Closing, *, as_json: bool) -> None:
        """`as_json`: a function's arguments are the answer's text."""
        self._provider = provider
        self._closing = closing
        self._as_json = as_json
        self._calls: dict[int, int] = {}
        """Number of a content block to number of a function call."""
        self._inputs: dict[int, Any] = {}
        """Arguments that came with a block's beginning, in case no more come."""
        self._usage = _Usage()
        self.ended = False

    @property
    def whole(self) -> bool:
        """The reason for the end is known."""
        return self._closing.whole

    def read(self, event: bytes) -> list[TokenChunk]:
        """The pieces of one event."""
        try:
            found = _events.decode(event)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._malformed(error) from None
        piece = self._piece(found)
        return [piece] if piece else []

    def read_whole(self, body: bytes) -> list[TokenChunk]:
        """The pieces of an answer that came as one object."""
        try:
            message = _messages.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._malformed(error) from None
        if message.content is None:
            raise self._malformed("it has no content")
        pieces = [self._whole_block(i, block) for i, block in enumerate(message.content)]
        self._note_usage(message.usage)
        self._end(message.stop_reason or "end_turn", message.stop_sequence)
        self.ended = True
        return [piece for piece in pieces if piece]

    def close(self) -> list[TokenChunk]:
        """The last piece."""
        if self.ended:
            self._end("end_turn", None)
        return self._closing.close()

    def _piece(self, event: _Event) -> TokenChunk | None:
        match event.type:
            case "content_block_delta":
                return self._delta(event.index, event.delta or _Delta())
            case "content_block_start":
                return self._start(event.index, event.content_block or _Block())
            case "content_block_stop":
                return self._stop(event.index)
            case "message_start" if event.message:
                self._note_usage(event.message.usage)
            case "message_delta":
                self._note_usage(event.usage)
                if event.delta and event.delta.stop_reason:
                    self._end(event.delta.stop_reason, event.delta.stop_sequence)
            case "message_stop":
                self.ended = True
            case "error":
                raise refusal_inside(self._provider, event.error)
            case _:
                pass  # pings, and what is invented later
        return None

    def _start(self, index: int, block: _Block) -> TokenChunk | None:
        if block.type == "tool_use":
            self._inputs[index] = block.input
            if self._as_json:
                return None
            number = self._calls.setdefault(index, len(self._calls))
            return _call(ToolCallDelta(index=number, id=block.id, name=block.name))
        return TokenChunk(text=block.text, reasoning=block.thinking) if (
            block.text or block.thinking
        ) else None  # fmt: skip

    def _delta(self, index: int, delta: _Delta) -> TokenChunk | None:
        if delta.type == "text_delta" and delta.text and not self._as_json:
            return TokenChunk(text=delta.text)
        if delta.type == "thinking_delta" and delta.thinking:
            return TokenChunk(reasoning=delta.thinking)
        if delta.type == "input_json_delta" and delta.partial_json:
            self._inputs.pop(index, None)
            return self._arguments(index, delta.partial_json)
        return None

    def _stop(self, index: int) -> TokenChunk | None:
        if index not in self._inputs:
            return None
        whole = self._inputs.pop(index)
        return self._arguments(index, msgspec.json.encode(whole or {}).decode())

    def _arguments(self, index: int, text: str) -> TokenChunk:
        if self._as_json:
            return TokenChunk(text=text)
        if index not in self._calls:
            raise self._malformed("arguments without a call")
        return _call(ToolCallDelta(index=self._calls[index], arguments=text))

    def _whole_block(self, index: int, block: _Block) -> TokenChunk | None:
        if block.type != "tool_use":
            return self._start(index, block)
        arguments = msgspec.json.encode(block.input or {}).decode()
        if self._as_json:
            return TokenChunk(text=arguments)
        number = self._calls.setdefault(index, len(self._calls))
        delta = ToolCallDelta(index=number, id=block.id, name=block.name, arguments=arguments)
        return _call(delta)

    def _end(self, reason: str, stop: str | None) -> None:
        finish = _FINISHES.get(reason, "stop")
        if self._as_json and finish == "tool_calls":
            finish = "stop"
        self._closing.end(0, finish, stop)

    def _note_usage(self, usage: _Usage | None) -> None:
        """Figures come in parts; later ones replace earlier ones."""
        if usage is None:
            return
        for name in usage.__struct_fields__:
            if (value := getattr(usage, name)) is not None:
                setattr(self._usage, name, value)
        known = self._usage
        if known.input_tokens is not None:
            read, made = known.cache_read_input_tokens or 0, known.cache_creation_input_tokens or 0
            self._closing.usage = Usage(
                prompt_tokens=known.input_tokens + read + made,
                completion_tokens=known.output_tokens or 0,
                cached_tokens=read,
            )

    def _malformed(self, problem: object) -> MalformedAnswer:
        return MalformedAnswer(f"{self._provider} sent what is not an answer: {problem}")


def _call(delta: ToolCallDelta) -> TokenChunk:
    return TokenChunk(tool_calls=(delta,))
