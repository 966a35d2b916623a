"""Parsers of output with markup: the pieces they give and the loop they share."""

import secrets
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ai_assistant.engine.text.formats.pieces import Piece, Reasoning, Text
from ai_assistant.engine.text.formats.reader import Markers, Reader, Wait
from ai_assistant.protocol.chunks import ToolCallDelta

Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON schema of each function's parameters."""

_ID_LETTERS = string.ascii_letters + string.digits


class Tags(NamedTuple):
    """What stands around the reasoning."""

    open: str
    close: str


class Emitter:
    """An output parser whose format is read by `run`, a generator that waits for text."""

    def __init__(self, markers: frozenset[str], schemas: Schemas) -> None:
        self.markers = markers
        self.schemas = schemas
        self.calls_done = 0
        self.reader = Reader()
        self._pieces: list[Piece] = []
        self._calls = 0
        self._structured = self._spoken = self._after_call = False
        self._thought = self._thinking = False
        self._space = self._thought_space = ""
        self._running = self.run()
        self._resume()

    def run(self) -> Wait[None]:
        """Read the whole output."""
        raise NotImplementedError

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain now."""
        self.reader.text += text
        return self._resume()

    def finish(self) -> list[Piece]:
        """The rest, at the end of the output."""
        self.reader.ended = True
        pieces = self._resume()
        if self._space and not self._after_call:
            pieces.append(Text(self._space))
        return pieces

    def _resume(self) -> list[Piece]:
        next(self._running, None)
        pieces, self._pieces = self._pieces, []
        return pieces

    def say(self, text: str) -> None:
        """Content. White space waits for what follows: before a call and after it, it is none."""
        text = self._space + text
        if self._structured and not self._spoken:
            text = text.lstrip()
        body = text.rstrip()
        self._space = text[len(body) :]
        if body:
            self._spoken, self._after_call = True, False
            self._pieces.append(Text(body))

    def think(self, text: str) -> None:
        """Reasoning, without the white space at its ends."""
        text = self._thought_space + text
        if not self._thinking:
            text = text.lstrip()
        body = text.rstrip()
        self._thought_space = text[len(body) :]
        if body:
            if self._thought and not self._thinking:
                body = "\n\n" + body
            self._thought = self._thinking = True
            self._pieces.append(Reasoning(body))

    def thought(self, *, begun: bool = False) -> None:
        """The reasoning begins or ends here; `begun`: the prompt holds its first words."""
        self._thinking = begun
        self._thought_space = ""
        self._structured = True
        if not self._spoken:
            self._space = ""

    def new_paragraph(self) -> None:
        """More content is a text of its own."""
        self._structured = True
        self._space = "\n\n" if self._spoken else ""

    def begin(self, name: str, id: str | None = None) -> None:
        """A call, for certain; what follows are its arguments."""
        self.reader.commit()
        self._structured = self._after_call = True
        self._pieces.append(ToolCallDelta(index=self._calls, id=id or new_call_id(), name=name))
        self._calls += 1

    def argue(self, text: str) -> None:
        """A part of the arguments' JSON."""
        if text:
            self._pieces.append(ToolCallDelta(index=self._calls - 1, arguments=text))

    def end(self) -> None:
        """The call is complete."""
        self.calls_done += 1


CallReader = Callable[[Emitter, str], Wait[bool]]
"""Reads calls after their start marker. False: it was no call, and nothing was taken."""


class MarkupParser(Emitter):
    """Reasoning between tags, calls after start markers, content elsewhere."""

    def __init__(
        self,
        *,
        tags: Tags | None,
        starts: Mapping[str, CallReader],
        markers: frozenset[str],
        schemas: Schemas,
        thinking: bool = False,
        thoughts_begun: bool = False,
        calls_end_thoughts: bool = False,
        bare: CallReader | None = None,
    ) -> None:
        self._tags = tags
        self._starts = starts
        self._bare = bare
        self._start_markers = Markers(*starts)
        ends = [tags.close] if tags else []
        self._thought_ends = Markers(*ends, *(starts if calls_end_thoughts else ()))
        self._opens_thinking = thinking
        self._thoughts_begun = thoughts_begun
        super().__init__(markers, schemas)

    def run(self) -> Wait[None]:
        """Reasoning and bare calls at the beginning and after a call, other calls anywhere."""
        if self._opens_thinking:
            yield from self._think(begun=self._thoughts_begun)
        fresh = True
        while not self.reader.ended or self.reader.text:
            if fresh:
                yield from self._beginning()
            start = yield from self.reader.until(self._start_markers, self.say)
            if start is not None:
                fresh = yield from self._starts[start](self, start)
                if not fresh:
                    self.say(start)

    def _beginning(self) -> Wait[None]:
        self.say((yield from self.reader.spaces()))
        while self._tags and (yield from self.reader.skip(self._tags.open)):
            yield from self._think()
            self.say((yield from self.reader.spaces()))
        if self._bare:
            while (yield from self._bare(self, "")):
                self.say((yield from self.reader.spaces()))

    def _think(self, *, begun: bool = False) -> Wait[None]:
        self.thought(begun=begun)
        end = yield from self.reader.until(self._thought_ends, self.think)
        if end is not None and end in self._starts:
            self.reader.put_back(end)
        self.thought()


def new_call_id() -> str:
    """Nine letters and digits: what Mistral's templates ask for suits all others."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(9))
