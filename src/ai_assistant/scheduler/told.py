"""What the client has of one answer so far, and what is to be asked of whoever goes on."""

from msgspec import structs

from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import Reached
from ai_assistant.protocol.requests import GenerateRequest, Partial
from ai_assistant.protocol.spelling import Spelled, Spelling


class Told:
    """One answer's, behind what its request brings along of an earlier node."""

    def __init__(self, request: GenerateRequest) -> None:
        self._base = request.partial or Partial()
        self._spelling = Spelling(self._base.spelled)
        # Of what was said before only the text is known: then of the whole, too.
        self._nameless = bool(self._base.generated and not self._base.spelled)
        self._aligned = True
        self.text = ""
        self.reasoning = ""
        self.tool_calls = False
        self.tokens = 0
        """Of those who have gone."""
        self._pieces = 0
        """Of whoever speaks: at least so many tokens."""
        self.began = False

    def note(self, chunk: TokenChunk) -> None:
        """This piece goes to the client now."""
        self.text += chunk.text
        self.reasoning += chunk.reasoning
        self.tool_calls = self.tool_calls or bool(chunk.tool_calls)
        if chunk.text or chunk.reasoning or chunk.tool_calls:
            self.began = True
            self._pieces += 1
            self._aligned = chunk.spelled is not None
        if chunk.spelled:
            self._spelling.add(chunk.spelled)

    def gone(self, reached: Reached) -> int:
        """Whoever spoke has gone, having said so much by its own count; tokens by the best one."""
        before = self.tokens
        spelled = self._spelled()
        known = len(spelled.cuts) - self._base.generated if spelled else 0
        self.tokens = known if spelled else self.tokens + max(reached.tokens, self._pieces)
        self._pieces = 0
        return max(self.tokens - before, 0)

    def rest_of(self, request: GenerateRequest) -> GenerateRequest:
        """What is still to be asked for."""
        if not self.began:
            return request
        base, spelled = self._base, self._spelled()
        guessed = base.generated + self.tokens + self._pieces
        return structs.replace(
            request,
            partial=Partial(
                text=base.text + self.text,
                reasoning=base.reasoning + self.reasoning,
                tool_calls=base.tool_calls or self.tool_calls,
                generated=len(spelled.cuts) if spelled else guessed,
                spelled=spelled,
            ),
        )

    def _spelled(self) -> Spelled | None:
        """All tokens that the client's text stands for; None where they are not known."""
        return self._spelling.whole() if self._aligned and not self._nameless else None

    def whole(self, chunk: TokenChunk) -> TokenChunk:
        """The last piece's usage, of all that the client has: the earlier tokens were answer here
        and prompt there."""
        if chunk.usage is None or not self.tokens:
            return chunk
        usage = structs.replace(
            chunk.usage,
            prompt_tokens=max(chunk.usage.prompt_tokens - self.tokens, 0),
            completion_tokens=chunk.usage.completion_tokens + self.tokens,
            estimated=not self._spelling.known,
        )
        return structs.replace(chunk, usage=usage)

    def cut_off(self) -> TokenChunk:
        """The answer was as long as it may be when its worker went away."""
        usage = Usage(prompt_tokens=0, completion_tokens=self.tokens, estimated=True)
        return TokenChunk(finish="length", usage=usage)
