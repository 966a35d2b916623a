"""The body of a text completion request, and the requests that it asks for: one per prompt."""

from typing import Annotated

import msgspec

from ai_assistant.gateway.decoding import decode
from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.keys import Standing
from ai_assistant.gateway.wire_common import Candidates, CommonFields, token_limit
from ai_assistant.gateway.wire_nodes import for_node
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt, TokenPrompt

Token = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

_MAX_CHOICES = 256


class CompletionBody(CommonFields, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[str | Token | list[Token]]
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None
    logprobs: Candidates | bool | None = None


_decoder = msgspec.json.Decoder(CompletionBody)


def read_completion(body: bytes) -> CompletionBody:
    """The body's fields; raises `InvalidRequest`."""
    return decode(_decoder, body)


def to_requests(
    wire: CompletionBody, *, request_id: str, model: str, standing: Standing
) -> list[GenerateRequest]:
    """What is asked; raises `RequestError` that names the field at fault."""
    _check_supported(wire)
    prompts = to_prompts(wire.prompt, "prompt")
    n = wire.n or 1
    if n * len(prompts) > _MAX_CHOICES:
        raise invalid("prompt", f"at most {_MAX_CHOICES} choices in one request")
    first = GenerateRequest(
        request_id=request_id,
        model=model,
        prompt=prompts[0],
        sampling=wire.sampling(),
        max_tokens=token_limit("max_tokens", wire.max_tokens),
        stop=wire.stops(),
        n=n,
        logprobs=to_logprobs(wire),
        format=wire.output_format(),
        priority=standing.priority,
        tenant=standing.tenant,
        weight=standing.weight,
        ignore_eos=bool(wire.ignore_eos),
    )
    if len(prompts) == 1:
        return [for_node(first, wire.ai_assistant)]
    others = enumerate(prompts[1:], start=1)
    replace = msgspec.structs.replace
    return [first, *(replace(first, request_id=f"{request_id}-{i}", prompt=p) for i, p in others)]


def to_prompts(
    given: str | list[str | Token | list[Token]], param: str
) -> tuple[TextPrompt | TokenPrompt, ...]:
    """A text, a list of tokens, or a list of either: as prompts, of which none is empty."""
    if isinstance(given, str):
        return (TextPrompt(given),)
    tokens = [item for item in given if isinstance(item, int)]
    if not given:
        raise invalid(param, "expected at least one")
    if not tokens:
        return tuple(_to_prompt(item, f"{param}[{i}]") for i, item in enumerate(given))
    if len(tokens) < len(given):
        raise invalid(param, "expected tokens only, or texts only")
    return (TokenPrompt(tuple(tokens)),)


def _to_prompt(item: str | int | list[int], param: str) -> TextPrompt | TokenPrompt:
    if isinstance(item, str):
        return TextPrompt(item)
    if not item or isinstance(item, int):
        raise invalid(param, "expected at least one token")
    return TokenPrompt(tuple(item))


def to_logprobs(wire: CompletionBody) -> int | None:
    """`true` asks for the chosen token alone."""
    if isinstance(wire.logprobs, bool):
        return 0 if wire.logprobs else None
    return wire.logprobs


def _check_supported(wire: CompletionBody) -> None:
    if wire.suffix:
        raise UnsupportedFeature("suffix: filling in the middle is not supported.", param="suffix")
    if wire.best_of is not None and wire.best_of > (wire.n or 1):
        raise UnsupportedFeature("best_of: must not be larger than n.", param="best_of")
    if wire.echo and to_logprobs(wire) is not None:
        raise UnsupportedFeature("echo: no logprobs of prompts are known.", param="echo")


def echoes(wire: CompletionBody, requests: list[GenerateRequest]) -> list[str]:
    """What goes before each request's choices."""
    if not wire.echo:
        return [""] * len(requests)
    texts = [r.prompt.text for r in requests if isinstance(r.prompt, TextPrompt)]
    if len(texts) < len(requests):
        raise UnsupportedFeature("echo: only prompts given as text can be echoed.", param="echo")
    return texts
