"""GPT-OSS: messages with a header (`<|channel|>…`) and a body (`<|message|>…<|end|>`)."""

import re

from ai_assistant.engine.text.formats.markup import Emitter, Schemas
from ai_assistant.engine.text.formats.reader import Markers, Wait

START, CHANNEL, CONSTRAIN = "<|start|>", "<|channel|>", "<|constrain|>"
MESSAGE, END, CALL, RETURN = "<|message|>", "<|end|>", "<|call|>", "<|return|>"
MARKERS = frozenset((START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN))
ASSISTANT = START + "assistant"

_HEADER_START = Markers(START, CHANNEL, MESSAGE, END, CALL, RETURN)
_HEADER_END = Markers(MESSAGE, END, CALL, RETURN)
_BODY_END = Markers(START, END, CALL, RETURN)
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyParser(Emitter):
    """`opened` is what the prompt wrote of the answer already, from `<|start|>` on."""

    def __init__(self, schemas: Schemas, *, tools: bool, opened: str = "") -> None:
        self._tools = tools
        self._opened = opened
        super().__init__(MARKERS, schemas)

    def run(self) -> Wait[None]:
        """Message after message; text outside of them is content."""
        reader = self.reader
        header, in_body, _ = self._opened.partition(MESSAGE)
        if in_body:
            yield from self._body(header, begun=True)
        prefix = "" if in_body else header.removeprefix(ASSISTANT)
        while not reader.ended or reader.text:
            if (yield from reader.attempt(self._message(prefix))):
                prefix = ""
                continue
            mark = yield from reader.until(_HEADER_START, self.say)
            if mark in (START, CHANNEL, MESSAGE) and not (
                yield from reader.attempt(self._message(mark))
            ):
                self.say(mark)

    def _message(self, taken: str) -> Wait[bool]:
        """A header and its body, where the header begins with `taken`."""
        reader = self.reader
        if not taken:
            yield from reader.spaces()
            if not (yield from self._header_begins()):
                return False
        header = taken
        if taken != MESSAGE:
            found = yield from reader.name(_HEADER_END)
            if found is None or found[1] != MESSAGE:
                return False
            header += found[0]
        reader.commit()
        yield from self._body(header)
        return True

    def _header_begins(self) -> Wait[bool]:
        for beginning in ("to=", CHANNEL, START, MESSAGE):
            if (yield from self.reader.at(beginning)):
                return True
        return False

    def _body(self, header: str, *, begun: bool = False) -> Wait[None]:
        recipients = _RECIPIENT.findall(header)
        channels = _CHANNEL.findall(header)
        recipient = recipients[-1] if recipients else ""
        if self._tools and recipient.startswith("functions."):
            yield from self._call(recipient.removeprefix("functions."))
            end = yield from self.reader.until(_BODY_END, self.say)
        elif channels and channels[-1] == "analysis":
            self.thought(begun=begun)
            end = yield from self.reader.until(_BODY_END, self.think)
            self.thought()
        else:
            if not begun:
                self.new_paragraph()
            end = yield from self.reader.until(_BODY_END, self.say)
        if end == START:
            self.reader.put_back(START)

    def _call(self, name: str) -> Wait[None]:
        """The call in a body, if it is one; what else is there is content."""
        reader = self.reader
        yield from reader.spaces()
        if (yield from reader.peek()) == "{":
            self.begin(name)
            if (yield from reader.json_value(self.argue)):
                self.end()
        elif (yield from reader.at(CALL)) or (yield from reader.at(END)):
            self.begin(name)
            self.argue("{}")
            self.end()
