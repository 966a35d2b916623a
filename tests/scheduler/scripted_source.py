"""A model elsewhere whose answers are written down before."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization
from ai_assistant.protocol.errors import AssistantError, Reached, UnsupportedFeature
from ai_assistant.protocol.offers import Offer, WorkerFacts
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest, TokenizeRequest
from ai_assistant.protocol.status import ModelInfo, ModelStatus

Line = TokenChunk | AssistantError | float


class ScriptedSource:
    """`protocol.worker.RemoteSource`: one script for each request, in turn."""

    def __init__(
        self,
        provider: str,
        *scripts: Sequence[Line],
        names: tuple[str, ...] = ("m",),
        place: str = "machine",
        continues: bool = True,
        facts: WorkerFacts = WorkerFacts(),  # noqa: B008 - a frozen value
    ) -> None:
        self._scripts = list(scripts)
        self._facts = facts
        self._offer = Offer(
            provider=provider, kind="openai", model="there", names=names, place=place,  # type: ignore[arg-type]
            region="", host="h", abilities=frozenset({"chat"}), continues=continues,
        )  # fmt: skip
        self.asked: list[GenerateRequest] = []
        self.closed = 0

    @property
    def offer(self) -> Offer:
        return self._offer

    def facts(self) -> WorkerFacts:
        return self._facts

    def refusal(self, request: GenerateRequest) -> str | None:
        return "It cannot go on." if request.partial and not self._offer.continues else None

    def thinking(self, request: GenerateRequest) -> int:
        return 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        self.asked.append(request)
        tokens = 0
        try:
            for line in self._scripts.pop(0):
                if isinstance(line, float):
                    await asyncio.sleep(line)
                    continue
                if isinstance(line, AssistantError):
                    line.reached = Reached(tokens=tokens, characters=tokens)
                    raise line
                tokens += bool(line.text)
                yield line
        finally:
            self.closed += 1

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return Embeddings(vectors=(b"\0" * 4,), dimensions=1, prompt_tokens=1)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        raise UnsupportedFeature("It does not show how it reads.")

    def status(self) -> ModelStatus:
        info = ModelInfo(
            id=self._offer.names[0], name="there", path="", size_bytes=0, architecture="",
            quantisation="", parameters=0, context_train=0,
        )  # fmt: skip
        return ModelStatus(model=info, state="ready")

    async def start(self) -> None: ...

    async def ready(self) -> None: ...

    async def stop(self, *, drain: bool = True) -> None: ...
