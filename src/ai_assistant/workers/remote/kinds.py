"""Kinds of servers: which language each speaks, and what it can do beyond that language."""

from typing import Literal

import msgspec

from ai_assistant.protocol.offers import Ability

Continues = Literal[
    "no",
    "message",
    "prefill",
    "prefill-message",
    "prefix",
    "prefix-echo",
    "template",
    "anthropic",
]
"""How a server goes on in the middle of an answer whose beginning is the last message.

`message`: with `continue_final_message`, and no space at the end (vLLM, SGLang). `prefill`: without
being told (Ollama). `prefill-message`: without being told too, but then it repeats the beginning,
which it does not if told as in `message` (llama-server since May 2026). `prefix`: with `prefix` on
the message (DeepSeek); `prefix-echo`: the same, and it repeats the beginning (Mistral).
`template`: with `continue_final_message` in `chat_template_kwargs` (ai-assistant). `anthropic`:
without being told, and no space at the end.
"""


def _can(*abilities: Ability) -> frozenset[Ability]:
    return frozenset(abilities)


_ALWAYS = _can("chat", "tools", "json")
_LOCAL = _ALWAYS | _can("text", "logprobs", "embeddings")
_LOCAL_SAMPLING = frozenset({"top_k", "min_p", "repetition_penalty", "seed", "logit_bias"})


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of server."""

    dialect: Literal["openai", "anthropic"] = "openai"
    base_url: str = ""
    """Empty: there is no usual one."""
    limit_name: str = "max_tokens"
    sampling: frozenset[str] = frozenset()
    """What it takes beyond temperature, top_p and the penalties; the rest is left out."""
    abilities: frozenset[Ability] = _ALWAYS
    token_prompts: bool = False
    continues: Continues = "no"
    template_variables: bool = False
    """It takes `chat_template_kwargs`."""
    effort: bool = False
    """It takes `reasoning_effort`."""
    reasoning_back: bool = False
    """It wants the reasoning of earlier turns."""
    regex: Literal["", "structured_outputs", "guided_regex", "regex"] = ""
    """Where a regular expression for the output goes."""
    max_stops: int = 16
    strict_schema: bool = False
    """`strict` holds only for schemas of a narrow kind; for others it is left out."""
    spells: bool = False
    """It tells the tokens of an answer as text with cuts, and goes on behind the very token."""
    free: bool = False
    """Runs on machines that the owner pays for anyway."""


KINDS: dict[str, Kind] = {
    "openai-compatible": Kind(abilities=_LOCAL, sampling=frozenset({"seed"})),
    "openai": Kind(
        base_url="https://api.openai.com/v1",
        limit_name="max_completion_tokens",
        sampling=frozenset({"seed", "logit_bias"}),
        abilities=_ALWAYS | _can("logprobs", "embeddings"),
        effort=True,
        max_stops=4,
        strict_schema=True,
    ),
    "anthropic": Kind(
        dialect="anthropic",
        base_url="https://api.anthropic.com/v1",
        continues="anthropic",
    ),
    "ai-assistant": Kind(
        sampling=_LOCAL_SAMPLING,
        abilities=_LOCAL | _can("grammar"),
        token_prompts=True,
        continues="template",
        template_variables=True,
        reasoning_back=True,
        regex="guided_regex",
        spells=True,
        free=True,
    ),
    "vllm": Kind(
        sampling=_LOCAL_SAMPLING,
        abilities=_LOCAL | _can("grammar"),
        token_prompts=True,
        continues="message",
        template_variables=True,
        reasoning_back=True,
        regex="structured_outputs",
        free=True,
    ),
    "sglang": Kind(
        sampling=_LOCAL_SAMPLING,
        abilities=_LOCAL | _can("grammar"),
        token_prompts=True,
        continues="message",
        template_variables=True,
        reasoning_back=True,
        regex="regex",
        free=True,
    ),
    "llama-server": Kind(
        sampling=_LOCAL_SAMPLING - {"repetition_penalty"} | {"repeat_penalty"},
        abilities=_LOCAL,
        token_prompts=True,
        continues="prefill-message",
        template_variables=True,
        reasoning_back=True,
        free=True,
    ),
    "ollama": Kind(
        base_url="http://127.0.0.1:11434/v1",
        sampling=frozenset({"seed"}),
        abilities=_LOCAL - _can("logprobs"),
        continues="prefill",
        effort=True,
        free=True,
    ),
    "lmstudio": Kind(
        base_url="http://127.0.0.1:1234/v1",
        sampling=frozenset({"seed", "top_k"}),
        abilities=_LOCAL - _can("logprobs"),
        free=True,
    ),
    "deepseek": Kind(
        # Going on with a prefix is served under /beta only, which serves the rest as well.
        base_url="https://api.deepseek.com/beta",
        abilities=_ALWAYS | _can("logprobs"),
        continues="prefix",
    ),
    "mistral": Kind(
        base_url="https://api.mistral.ai/v1",
        sampling=frozenset({"random_seed"}),
        abilities=_ALWAYS | _can("embeddings"),
        continues="prefix-echo",
    ),
    "openrouter": Kind(
        base_url="https://openrouter.ai/api/v1",
        sampling=_LOCAL_SAMPLING,
        abilities=_ALWAYS | _can("logprobs"),
        effort=True,
    ),
    "groq": Kind(base_url="https://api.groq.com/openai/v1", sampling=frozenset({"seed"})),
    "gemini": Kind(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        abilities=_ALWAYS | _can("embeddings"),
        effort=True,
    ),
    "together": Kind(
        base_url="https://api.together.xyz/v1",
        sampling=frozenset({"top_k", "min_p", "repetition_penalty", "seed"}),
        abilities=_ALWAYS | _can("text", "logprobs", "embeddings"),
    ),
    "fireworks": Kind(
        base_url="https://api.fireworks.ai/inference/v1",
        sampling=frozenset({"top_k", "min_p", "repetition_penalty", "seed"}),
        abilities=_ALWAYS | _can("text", "logprobs", "embeddings"),
    ),
    "xai": Kind(
        base_url="https://api.x.ai/v1", sampling=frozenset({"seed"}), effort=True, max_stops=4
    ),
}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One model of one server, as its dialect needs to know it."""

    provider: str
    model: str
    kind: Kind
    abilities: frozenset[Ability]
    continues: Continues
    max_output: int
    """Tokens of an answer, where the server wants to be told."""
