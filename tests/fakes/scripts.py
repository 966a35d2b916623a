"""Answers that exercise more than text."""

from tests.fakes.fake_service import Step

from ai_assistant.protocol.chunks import (
    TokenChunk,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    Usage,
)

USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=4, reasoning_tokens=2)
CALLS: list[Step] = [
    TokenChunk(tool_calls=(ToolCallDelta(index=0, id="a", name="weather", arguments='{"city":'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments='"Rome"}'),)),
    TokenChunk(tool_calls=(ToolCallDelta(index=1, id="b", name="weather", arguments="{}"),)),
    TokenChunk(finish="tool_calls", usage=USAGE),
]
LOGPROBS: list[Step] = [
    TokenChunk(
        text="é",
        logprobs=(
            TokenLogprob(
                "é",
                "é".encode(),
                -0.5,
                (TopLogprob("é", b"\xc3\xa9", -0.5), TopLogprob("e", b"e", -1)),
            ),
        ),
    ),
    TokenChunk(finish="stop", usage=USAGE),
]
