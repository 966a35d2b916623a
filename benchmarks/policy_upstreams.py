"""Models elsewhere that keep the very bytes they were sent, and fail in all the usual ways."""

import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

import msgspec

from ai_assistant.policy.gate import Gate
from ai_assistant.protocol.chunks import Embeddings, TokenChunk, Tokenization, Usage
from ai_assistant.protocol.errors import EngineDied, ProviderUnreachable, StreamBroken
from ai_assistant.protocol.requests import (
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    TextPrompt,
    TokenizeRequest,
)
from ai_assistant.protocol.status import ModelInfo, ModelStatus
from ai_assistant.workers.providers.fleet import make_worker
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.secret import Secret
from ai_assistant.workers.remote.transport import Call, Reply, StaleConnection, Transport
from ai_assistant.workers.remote.upstream import Upstream
from ai_assistant.workers.remote.worker import RemoteWorker

PROVIDERS: dict[str, Provider] = {
    "openai": Provider(kind="openai-compatible", base_url="https://a.example/v1", region="us"),
    "mistral": Provider(kind="mistral", base_url="https://b.example/v1", region="eu"),
    "attic": Provider(kind="vllm", base_url="http://10.1.2.3:8000/v1"),
    "claude": Provider(kind="anthropic", base_url="https://c.example/v1", region="us"),
    "unknown": Provider(kind="vllm", base_url="https://d.example/v1"),
}
_SHOWN = 300
_LAST = re.compile(rb'"content": ?"((?:[^"\\]|\\.)*)"')
_TEXT = re.compile(rb'"(?:text|prompt)": ?"((?:[^"\\]|\\.)*)"')
_EMBED = b'{"data":[%s],"usage":{"prompt_tokens":3}}'
_ROW = b'{"index":%d,"embedding":[0.6,0.8]}'
_EVENTS = {"content-type": "text/event-stream"}
_OBJECT = {"content-type": "application/json"}


class Told:
    """A reply from memory; `error` comes behind its last piece."""

    def __init__(
        self,
        pieces: list[bytes],
        *,
        status: int = 200,
        headers: Mapping[str, str] = _EVENTS,
        error: Exception | None = None,
    ) -> None:
        self.status, self.headers = status, headers
        self._pieces, self._error = pieces, error

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        return b""

    async def release(self) -> None: ...

    async def abort(self) -> None: ...


class Recorder:
    """`Transport`: hands every body to `saw`, then answers or fails by chance."""

    def __init__(
        self, kind: str, rng: random.Random, saw: Callable[[bytes], None], told: Counter[str]
    ) -> None:
        self._anthropic = kind == "anthropic"
        self._rng, self._saw, self._told = rng, saw, told

    async def open(self, call: Call, *, connect_seconds: float) -> Reply:
        self._saw(call.body)
        chance = self._rng.random()
        if chance < 0.05:
            self._told["connections refused"] += 1
            raise ProviderUnreachable("nobody is there")
        if chance < 0.08:
            self._told["stale connections"] += 1
            raise StaleConnection
        if chance < 0.14:
            self._told["refusals by status"] += 1
            status = self._rng.choice((400, 404, 429, 500, 503, 529))
            return Told([b'{"error":{"message":"no"}}'], status=status, headers=_OBJECT)
        if call.path.endswith("embeddings"):
            rows = call.body.count(b'","') + 1
            body = _EMBED % b",".join(_ROW % number for number in range(rows))
            return Told([body], headers=_OBJECT)
        return self._stream(call.body)

    def _stream(self, body: bytes) -> Told:
        said = _LAST.findall(body) or _TEXT.findall(body) or [b"well"]
        text = said[-1][:_SHOWN].rstrip(b"\\")
        cut = text.rfind(b"\\")
        text = text[:cut] if cut > len(text) - 7 else text
        size = self._rng.randint(3, 40)
        parts = [text[at : at + size] for at in range(0, len(text), size)] or [b"ok"]
        pieces = [self._event(part) for part in parts if _whole(part)]
        if self._rng.random() < 0.15:
            self._told["streams cut in the middle"] += 1
            broken = StreamBroken("the line went dead")
            return Told(pieces[: self._rng.randint(0, len(pieces))], error=broken)
        if self._rng.random() < 0.03:
            self._told["streams that end in nonsense"] += 1
            return Told([*pieces[:2], b"data: {nonsense\n\n"])
        return Told([*pieces, self._end()])

    def _event(self, part: bytes) -> bytes:
        if self._anthropic:
            return (
                b'data: {"type":"content_block_delta","index":0,"delta":'
                b'{"type":"text_delta","text":"%s"}}\n\n' % part
            )
        return b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % part

    def _end(self) -> bytes:
        if self._anthropic:
            return (
                b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
                b'"usage":{"input_tokens":5,"output_tokens":5}}\n\n'
                b'data: {"type":"message_stop"}\n\n'
            )
        return (
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
            b'"usage":{"prompt_tokens":5,"completion_tokens":5}}\n\ndata: [DONE]\n\n'
        )

    async def close(self) -> None: ...


def _whole(part: bytes) -> bool:
    """Half an escape or half a character would be a mistake of ours, not a fault."""
    try:
        msgspec.json.decode(b'"' + part + b'"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def workers_of(
    gate: Gate,
    folder: Path,
    make: Callable[[str, Provider], Transport],
    providers: Mapping[str, Provider] = PROVIDERS,
) -> tuple[list[RemoteWorker], RecordsFile]:
    """The real workers of all providers over transports that `make` gives."""
    records = RecordsFile(folder / "seen.json")
    found: list[RemoteWorker] = []
    for name, provider in providers.items():
        upstream = Upstream(
            name=name,
            region=provider.region,
            address=provider.address(),
            transport=make(name, provider),
            secret=Secret("key"),
            gate=gate,
            deadlines=provider.deadlines,
            places=provider.max_requests,
        )
        model = ProviderModel(id="m", names=(f"{name}/m",))
        found.append(make_worker(name, provider, model, upstream, records))
    return found, records


HERE = ModelInfo(
    id="here", name="here", path="/here.gguf", size_bytes=1, architecture="llama",
    quantisation="Q8_0", parameters=1, context_train=8192,
)  # fmt: skip


class Here:
    """`protocol.worker.Worker`: an engine of this node that repeats what it is told, or dies."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk, None]:
        if self._rng.random() < 0.3:
            yield TokenChunk(text="Well, ")
            raise EngineDied("gone")
        yield TokenChunk(text=_last_of(request)[:_SHOWN])
        yield TokenChunk(finish="stop", usage=Usage(prompt_tokens=5, completion_tokens=5))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return Embeddings(vectors=(b"\0" * 8,) * len(request.inputs), dimensions=2, prompt_tokens=1)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        return Tokenization(tokens=(1,), text="x")

    def status(self) -> ModelStatus:
        return ModelStatus(model=HERE, state="ready", default=True)

    async def start(self) -> None: ...

    async def ready(self) -> None: ...

    async def stop(self, *, drain: bool = True) -> None: ...


def _last_of(request: GenerateRequest) -> str:
    prompt = request.prompt
    if isinstance(prompt, ChatPrompt):
        return prompt.messages[-1].content or ""
    return prompt.text if isinstance(prompt, TextPrompt) else ""
