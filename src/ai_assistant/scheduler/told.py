"""What the client has of one answer so far, and what is to be asked of whoever goes on."""

from msgspec import structs

from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.requests import GenerateRequest, Partial


class Told:
    """One answer's."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.tool_calls = False
        self.tokens = 0
        self.began = False

    def note(self, chunk: TokenChunk) -> None:
        """This piece goes to the client now."""
        self.text += chunk.text
        self.reasoning += chunk.reasoning
        self.tool_calls = self.tool_calls or bool(chunk.tool_calls)
        self.began = self.began or bool(chunk.text or chunk.reasoning or chunk.tool_calls)

    def rest_of(self, request: GenerateRequest) -> GenerateRequest:
        """What is still to be asked for."""
        if not self.began:
            return request
        return structs.replace(
            request,
            partial=Partial(
                text=self.text,
                reasoning=self.reasoning,
                tool_calls=self.tool_calls,
                generated=self.tokens,
            ),
        )

    def whole(self, chunk: TokenChunk) -> TokenChunk:
        """The last piece's usage, of all that the client has: the earlier tokens were answer here
        and prompt there."""
        if chunk.usage is None or not self.tokens:
            return chunk
        usage = structs.replace(
            chunk.usage,
            prompt_tokens=max(chunk.usage.prompt_tokens - self.tokens, 0),
            completion_tokens=chunk.usage.completion_tokens + self.tokens,
            estimated=True,
        )
        return structs.replace(chunk, usage=usage)

    def cut_off(self) -> TokenChunk:
        """The answer was as long as it may be when its worker went away."""
        usage = Usage(prompt_tokens=0, completion_tokens=self.tokens, estimated=True)
        return TokenChunk(finish="length", usage=usage)
