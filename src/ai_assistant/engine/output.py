"""The text side of one sequence: from tokens to what the client may see, not sent yet."""

from ai_assistant.engine.kernels import Vocabulary
from ai_assistant.engine.spelling import Speller
from ai_assistant.engine.text.formats import OutputParser
from ai_assistant.engine.text.formats.pieces import Piece, Reasoning, Text
from ai_assistant.engine.text.stream import StopFinder, Utf8Stream
from ai_assistant.protocol.chunks import (
    FinishReason,
    Timings,
    TokenChunk,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)


class TextOutput:
    """Collects text, reasoning and tool calls until they are taken.

    Without a parser and stop strings, the common case, a token costs one decode and one append.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        parser: OutputParser | None,
        stops: tuple[str, ...],
        *,
        one_call: bool = False,
        speller: Speller | None = None,
    ) -> None:
        """`one_call`: the answer ends with its first complete tool call."""
        self._vocabulary = vocabulary
        self._parser = parser
        self._one_call = one_call
        self._stops = StopFinder(stops) if stops else None
        self._utf8 = Utf8Stream()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCallDelta] = []
        self._stopped = False
        self._speller = speller
        self.logprobs: list[TokenLogprob] = []
        self.reasoning_tokens = 0

    @property
    def has_news(self) -> bool:
        """Whether there is something to take."""
        return bool(self._text or self._reasoning or self._calls or self.logprobs)

    def push(self, token: int) -> bool:
        """Add a token; True when a stop string or the only call wanted ended the text."""
        vocabulary = self._vocabulary
        piece = vocabulary.piece(token)
        if self._speller:
            self._speller.push(token)
        if token in vocabulary.control and not self._wanted(piece):
            return False
        text = self._utf8.feed(piece)
        return bool(text) and self._feed(text)

    def end_token(self, token: int) -> None:
        """The token that ended the generation: only a parser may want to see it."""
        piece = self._vocabulary.piece(token)
        if self._wanted(piece):
            self._feed(self._utf8.feed(piece))

    def _wanted(self, piece: bytes) -> bool:
        return self._parser is not None and piece.decode("utf-8", "replace") in self._parser.markers

    def _feed(self, text: str) -> bool:
        if self._stops:
            text, self._stopped = self._stops.feed(text)
        if self._parser is None:
            if text:
                self._text.append(text)
        else:
            self._sort(self._parser.feed(text))
            if self._one_call and self._parser.calls_done:
                self._stopped = True
        return self._stopped

    def close(self) -> None:
        """The sequence ended: give out what was held back."""
        if not self._stopped:
            rest = self._utf8.flush()
            if rest:
                self._feed(rest)
            if self._stops and (held := self._stops.flush()):
                self._stops = None
                self._feed(held)
        if self._parser:
            self._sort(self._parser.finish())

    def _sort(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Text):
                self._text.append(piece.text)
            elif isinstance(piece, Reasoning):
                self._reasoning.append(piece.text)
                self.reasoning_tokens += 1
            else:
                self._calls.append(piece)

    def reason(self, reason: FinishReason) -> FinishReason:
        """Why it ended, in the client's terms."""
        called = self._parser is not None and self._parser.calls_done > 0
        return "tool_calls" if reason == "stop" and called else reason

    def take(
        self,
        index: int,
        finish: FinishReason | None = None,
        usage: Usage | None = None,
        timings: Timings | None = None,
    ) -> TokenChunk:
        """All that was collected, as choice `index`."""
        stop = self._stops.found if finish and self._stops else None
        chunk = TokenChunk(
            index=index,
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._calls),
            logprobs=tuple(self.logprobs),
            finish=finish,
            usage=usage,
            timings=timings,
            stop=stop,
            spelled=self._speller.take() if self._speller and not finish else None,
        )
        self._text.clear()
        self._reasoning.clear()
        self._calls.clear()
        self.logprobs.clear()
        return chunk

    def forget(self) -> None:
        """What is there was sent before, by whoever began the answer."""
        self.take(0)
        if self._speller:
            self._speller.skip()
