"""A node without models: answers at once, from a script, and remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization, Usage
from ai_assistant.protocol.errors import AssistantError, ModelNotFound
from ai_assistant.protocol.requests import (
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    TextPrompt,
    TokenizeRequest,
)
from ai_assistant.protocol.status import ModelInfo, ModelState, ModelStatus, NodeStatus

Step = TokenChunk | Exception | float
"""A chunk to yield, an error to raise, or seconds to be silent."""


def say(*words: str, n: int = 1, prompt: int = 5, cached: int = 0) -> list[Step]:
    """The script of an ordinary answer."""
    steps: list[Step] = [TokenChunk(index=i, text=word) for word in words for i in range(n)]
    usage = Usage(prompt_tokens=prompt, completion_tokens=len(words) * n, cached_tokens=cached)
    steps += [TokenChunk(index=i, finish="stop") for i in range(n - 1)]
    return [*steps, TokenChunk(index=n - 1, finish="stop", usage=usage)]


def model(name: str, *, state: ModelState = "ready", default: bool = False) -> ModelStatus:
    """A model as the node tells of it."""
    info = ModelInfo(
        id=name,
        name=name,
        path=f"/models/{name}.gguf",
        size_bytes=1000,
        architecture="llama",
        quantisation="Q8_0",
        parameters=100,
        context_train=2048,
    )
    return ModelStatus(model=info, state=state, default=default)


@dataclass
class FakeService:
    """Implements `protocol.worker.Service`."""

    script: Sequence[Step] | Callable[[GenerateRequest], Sequence[Step]] | None = None
    models: tuple[ModelStatus, ...] = (model("starter", default=True), model("org/big"))
    embedding: Embeddings | AssistantError | None = None
    embed_seconds: float = 0.0
    asked: list[GenerateRequest] = field(default_factory=list[GenerateRequest])
    embedded: list[EmbedRequest] = field(default_factory=list[EmbedRequest])
    tokenized: list[TokenizeRequest] = field(default_factory=list[TokenizeRequest])
    ended: list[str] = field(default_factory=list[str])
    """Requests whose iterator ran to its end or to its error."""
    closed: list[str] = field(default_factory=list[str])
    """Requests whose iterator was closed before."""
    sent: int = 0

    def forget(self) -> None:
        """As new."""
        self.__init__()

    def status(self) -> NodeStatus:
        return NodeStatus(
            version="0", uptime_seconds=1.0, pid=1, memory_bytes=1, models=self.models
        )

    def default_model(self) -> str | None:
        return next((entry.model.id for entry in self.models if entry.default), None)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        self.asked.append(request)
        whole = False
        try:
            for step in self._steps(request):
                if isinstance(step, (int, float)):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    whole = True
                    raise step
                else:
                    self.sent += 1
                    yield step
            whole = True
        finally:
            (self.ended if whole else self.closed).append(request.request_id)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.embedded.append(request)
        try:
            await asyncio.sleep(self.embed_seconds)
        except asyncio.CancelledError:
            self.closed.append(request.request_id)
            raise
        if isinstance(self.embedding, Exception):
            raise self.embedding
        if self.embedding is not None:
            return self.embedding
        vector = bytes.fromhex("0000803f00000000")  # (1.0, 0.0)
        count = len(request.inputs)
        return Embeddings(vectors=(vector,) * count, dimensions=2, prompt_tokens=3 * count)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """Letters are tokens; a conversation is its contents in lines."""
        self.tokenized.append(request)
        prompt = request.prompt
        if isinstance(prompt, ChatPrompt):
            text = "".join(f"{message.content}\n" for message in prompt.messages)
        elif isinstance(prompt, TextPrompt):
            text = prompt.text
        else:
            text = "".join(map(chr, prompt.tokens))
        pieces = tuple(letter.encode() for letter in text) if request.pieces else ()
        return Tokenization(text=text, tokens=tuple(map(ord, text)), pieces=pieces)

    def _steps(self, request: GenerateRequest) -> Sequence[Step]:
        if request.model not in {entry.model.id for entry in self.models}:
            return [ModelNotFound(f"No model {request.model}.", param="model")]
        if callable(self.script):
            return self.script(request)
        return say("Hel", "lo", n=request.n) if self.script is None else self.script
