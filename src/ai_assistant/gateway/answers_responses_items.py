"""The items of a response, as they grow, and the events that tell of each."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ai_assistant.gateway.answers import chat_logprobs
from ai_assistant.protocol.chunks import TokenLogprob

Event = tuple[str, dict[str, Any]]
"""Its type without `response.`, and its fields beside the item's place."""

Kind = Literal["reasoning", "message", "function_call", "custom_tool_call"]
_NONE: list[dict[str, Any]] = []
_PREFIX = {"reasoning": "rs", "message": "msg", "function_call": "fc", "custom_tool_call": "ctc"}


class OutputItem:
    """One item of the output."""

    def __init__(self, kind: Kind, key: str, *, call_id: str = "", name: str = "") -> None:
        self.kind: Kind = kind
        self.id = f"{_PREFIX[kind]}_{key}"
        self.call_id = call_id
        self.name = name
        self._parts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self.status = "in_progress"

    @property
    def text(self) -> str:
        """Text, thoughts or arguments so far."""
        return "".join(self._parts)

    def begin(self) -> Iterator[Event]:
        """The item is there, and empty."""
        yield "output_item.added", {"item": self.whole()}
        if self.kind in ("message", "reasoning"):
            yield "content_part.added", {"content_index": 0, "part": self._part()}

    def grow(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> Iterator[Event]:
        """More of it."""
        self._parts.append(text)
        told = chat_logprobs(logprobs)
        self._logprobs += told
        if self.kind == "message":
            yield "output_text.delta", {"content_index": 0, "delta": text, "logprobs": told}
        elif self.kind == "reasoning":
            yield "reasoning_text.delta", {"content_index": 0, "delta": text}
        elif self.kind == "function_call":
            yield "function_call_arguments.delta", {"delta": text}

    def end(self, status: str) -> Iterator[Event]:
        """It is complete, or was cut off."""
        self.status = status
        place = {"content_index": 0}
        if self.kind == "message":
            yield "output_text.done", place | {"text": self.text, "logprobs": self._logprobs}
        elif self.kind == "reasoning":
            yield "reasoning_text.done", place | {"text": self.text}
        elif self.kind == "function_call":
            yield "function_call_arguments.done", {"name": self.name, "arguments": self.text}
        else:
            yield "custom_tool_call_input.delta", {"delta": self.free_text()}
            yield "custom_tool_call_input.done", {"input": self.free_text()}
        if self.kind in ("message", "reasoning"):
            yield "content_part.done", place | {"part": self._part()}
        yield "output_item.done", {"item": self.whole()}

    def whole(self) -> dict[str, Any]:
        """The item as an object."""
        head: dict[str, Any] = {"id": self.id, "type": self.kind, "status": self.status}
        begun = bool(self._parts) or self.status != "in_progress"
        content = [self._part()] if begun else []
        if self.kind == "message":
            return head | {"role": "assistant", "content": content}
        if self.kind == "reasoning":
            return head | {"summary": [], "content": content}
        head |= {"call_id": self.call_id, "name": self.name}
        if self.kind == "function_call":
            return head | {"arguments": self.text}
        return head | {"input": self.free_text()}

    def _part(self) -> dict[str, Any]:
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": _NONE,
            "logprobs": self._logprobs,
        }

    def free_text(self) -> str:
        """What a custom tool is given."""
        try:
            found = msgspec.json.decode(self.text or "{}", type=dict[str, str])
        except msgspec.DecodeError:
            return ""
        return found.get("input", "")
