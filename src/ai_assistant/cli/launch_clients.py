"""What each coding agent must be told to use a node: variables and arguments, never a file.

Each of these was run against a node, `tests/system/test_agents.py`. `needs` are the tokens of
instructions and tools that it sends with its first question, counted with the starter's tokenizer.
"""

import json
from collections.abc import Callable

import msgspec

NO_KEY = "ai-assistant"
"""Stands where a node without keys needs none but the client insists."""
_CODEX_KEY = "CODEX_NODE_KEY"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a node, as a client must know it."""

    url: str
    key: str
    model: str
    context: int
    """Tokens."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a program so that it uses a place."""

    variables: dict[str, str]
    arguments: tuple[str, ...] = ()


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A program that can be started."""

    program: str
    install: str
    needs: int
    recipe: Callable[[Place], Recipe]


def _claude(place: Place) -> Recipe:
    models = ("", "DEFAULT_OPUS_", "DEFAULT_SONNET_", "DEFAULT_HAIKU_", "DEFAULT_FABLE_")
    return Recipe(
        variables={
            "ANTHROPIC_BASE_URL": place.url,
            "ANTHROPIC_AUTH_TOKEN": place.key,
            "ANTHROPIC_API_KEY": "",
            **{f"ANTHROPIC_{model}MODEL": place.model for model in models},
            "CLAUDE_CODE_SUBAGENT_MODEL": place.model,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(place.context),
            "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(place.context),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(_answer_room(place)),
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
    )


def _codex(place: Place) -> Recipe:
    provider = (
        f'{{name="ai-assistant",base_url={json.dumps(place.url + "/v1")},'
        f'wire_api="responses",env_key="{_CODEX_KEY}"}}'
    )
    settings = (
        "model_provider=ai_assistant",
        f"model_providers.ai_assistant={provider}",
        f"model_context_window={place.context}",
    )
    overrides = (part for setting in settings for part in ("-c", setting))
    return Recipe(variables={_CODEX_KEY: place.key}, arguments=(*overrides, "-m", place.model))


def _opencode(place: Place) -> Recipe:
    limits = {"context": place.context, "output": _answer_room(place)}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "ai-assistant",
        "options": {"baseURL": f"{place.url}/v1", "apiKey": place.key},
        "models": {place.model: {"name": place.model, "limit": limits}},
    }
    name = f"ai-assistant/{place.model}"
    settings = {"provider": {"ai-assistant": provider}, "model": name, "small_model": name}
    return Recipe(variables={"OPENCODE_CONFIG_CONTENT": json.dumps(settings)})


def _qwen(place: Place) -> Recipe:
    return Recipe(
        variables={
            "OPENAI_BASE_URL": f"{place.url}/v1",
            "OPENAI_API_KEY": place.key,
            "OPENAI_MODEL": place.model,
        }
    )


def _answer_room(place: Place) -> int:
    """Tokens of an answer: agents keep them free in the context."""
    return max(min(32_000, place.context // 4), 256)


AGENTS = {
    "claude": Agent(
        program="claude",
        install="npm install -g @anthropic-ai/claude-code",
        needs=26_300,
        recipe=_claude,
    ),
    "codex": Agent(
        program="codex", install="npm install -g @openai/codex", needs=8_100, recipe=_codex
    ),
    "opencode": Agent(
        program="opencode", install="npm install -g opencode-ai", needs=9_600, recipe=_opencode
    ),
    "qwen": Agent(
        program="qwen", install="npm install -g @qwen-code/qwen-code", needs=19_500, recipe=_qwen
    ),
}
