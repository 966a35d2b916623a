"""The two wire formats behind one seam."""

from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import EmbedRequest, GenerateRequest
from ai_assistant.workers.remote import anthropic_request, openai_request
from ai_assistant.workers.remote.anthropic_reply import AnthropicReader
from ai_assistant.workers.remote.closing import Closing
from ai_assistant.workers.remote.dialect import Dialect, Reader
from ai_assistant.workers.remote.kinds import Kind, Target
from ai_assistant.workers.remote.openai_reply import OpenAIReader
from ai_assistant.workers.remote.transport import Call

_ANTHROPIC_VERSION = "2023-06-01"


class OpenAIDialect:
    """`/chat/completions`, `/completions` and `/embeddings`."""

    def headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def call(self, request: GenerateRequest, target: Target) -> Call:
        return openai_request.generate_call(request, target)

    def thinking(self, request: GenerateRequest) -> int:
        return 0

    def embed(self, request: EmbedRequest, target: Target) -> Call:
        return openai_request.embed_call(request, target)

    def reader(self, request: GenerateRequest, target: Target, closing: Closing) -> Reader:
        spells = target.kind.spells and request.spell
        return OpenAIReader(target.provider, request.n, closing, spells=spells)


class AnthropicDialect:
    """`/messages`."""

    def headers(self, key: str) -> dict[str, str]:
        named = {"x-api-key": key} if key else {}
        return {"anthropic-version": _ANTHROPIC_VERSION, **named}

    def call(self, request: GenerateRequest, target: Target) -> Call:
        return anthropic_request.generate_call(request, target)

    def thinking(self, request: GenerateRequest) -> int:
        return anthropic_request.thinking(request)

    def embed(self, request: EmbedRequest, target: Target) -> Call:
        raise UnsupportedFeature(f"{target.provider} gives no embeddings.")

    def reader(self, request: GenerateRequest, target: Target, closing: Closing) -> Reader:
        as_json = request.format.kind != "text"
        return AnthropicReader(target.provider, closing, as_json=as_json)


def dialect_of(kind: Kind) -> Dialect:
    """The wire format that servers of this kind speak."""
    return AnthropicDialect() if kind.dialect == "anthropic" else OpenAIDialect()
