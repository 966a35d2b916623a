"""A LiteLLM `config.yaml` as providers of ours, and what of it could not be taken over."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.offers import Price
from ai_assistant.workers.providers.provider import NAME, Provider, ProviderModel, check

_KINDS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "groq": "groq",
    "gemini": "gemini",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "xai": "xai",
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "lm_studio": "lmstudio",
    "hosted_vllm": "vllm",
    "vllm": "vllm",
    "custom_openai": "openai-compatible",
    "openai_like": "openai-compatible",
    "litellm_proxy": "openai-compatible",
}
"""LiteLLM's prefixes in our words."""
_TAKEN = {"model", "api_base", "base_url", "api_key", "input_cost_per_token",
          "output_cost_per_token", "custom_llm_provider"}  # fmt: skip
_USUAL_KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "groq": "GROQ_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "together": "TOGETHERAI_API_KEY",
    "fireworks": "FIREWORKS_AI_API_KEY",
    "xai": "XAI_API_KEY",
}
"""Where LiteLLM looks for a key when the file names none."""
_LARGEST = 4 << 20


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a file gives."""

    providers: dict[str, Provider]
    left_out: tuple[str, ...]
    """One line for each thing that was not taken over; no line holds a key."""


def read_litellm(path: Path, taken_names: frozenset[str] = frozenset()) -> Imported:
    """The file's models by provider; raises `InvalidRequest` if it is not LiteLLM's.

    `taken_names` are those of providers that are there already.
    """
    try:
        text = path.read_bytes()
        tree: object = yaml.safe_load(text) if len(text) <= _LARGEST else None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise InvalidRequest(f"{path} is not valid YAML{line}.") from None
    fields = cast("dict[str, Any]", tree) if isinstance(tree, dict) else {}
    entries: object = fields.get("model_list")
    if not isinstance(entries, list):
        raise InvalidRequest(f"{path} has no model_list, so it is not a LiteLLM config.yaml.")
    importing = _Importing(taken_names)
    for number, entry in enumerate(cast("list[object]", entries), start=1):
        importing.take(number, entry)
    for section in fields:
        if section != "model_list":
            importing.left_out.append(f"{section}: this section is not taken over")
    return Imported(providers=importing.checked(), left_out=tuple(importing.left_out))


class _Importing:
    """Providers as they are found: one for each address and key."""

    def __init__(self, taken_names: frozenset[str]) -> None:
        self._taken = taken_names
        self._names: dict[tuple[str, str, str], str] = {}
        self._found: dict[str, Provider] = {}
        self.left_out: list[str] = []

    def take(self, number: int, entry: object) -> None:
        tree = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        where = f"model {number} ({tree.get('model_name')})"
        params: object = tree.get("litellm_params")
        if not isinstance(params, dict) or not isinstance(tree.get("model_name"), str):
            self.left_out.append(f"{where}: it needs model_name and litellm_params")
            return
        given = cast("dict[str, Any]", params)
        kind, model = _kind_and_model(given)
        if kind is None or not model:
            self.left_out.append(f"{where}: {model or 'its model'} is of a kind we do not speak")
            return
        source = self._key(where, kind, given)
        base = _text(given.get("api_base") or given.get("base_url"))
        if kind == "ollama" and base and not base.rstrip("/").endswith("/v1"):
            base = base.rstrip("/") + "/v1"  # LiteLLM speaks Ollama's own API
        for name in sorted(set(map(str, given)) - _TAKEN):
            self.left_out.append(f"{where}: litellm_params.{name}")
        self._add(kind, base, source, _model(model, cast("str", tree["model_name"]), given))

    def checked(self) -> dict[str, Provider]:
        """Those that can be used."""
        good: dict[str, Provider] = {}
        for name, provider in self._found.items():
            try:
                check(name, provider)
                good[name] = provider
            except InvalidRequest as error:
                self.left_out.append(error.message)
        return good

    def _key(self, where: str, kind: str, params: Mapping[str, Any]) -> str:
        key = _text(params.get("api_key"))
        if not key:
            usual = _USUAL_KEYS.get(kind)
            return f"env:{usual}" if usual else ""
        if key.startswith("os.environ/"):
            return f"env:{key.removeprefix('os.environ/')}"
        self.left_out.append(
            f"{where}: its key stands in the file itself; give it with `providers add`"
        )
        return ""

    def _add(self, kind: str, base: str, source: str, model: ProviderModel) -> None:
        place = (kind, base, source)
        if place not in self._names:
            self._names[place] = self._free_name(kind)
            self._found[self._names[place]] = Provider(kind=kind, base_url=base, key=source)
        name = self._names[place]
        provider = self._found[name]
        known = [one for one in provider.models if one.id == model.id]
        others = tuple(one for one in provider.models if one.id != model.id)
        names = tuple(dict.fromkeys(n for one in [*known, model] for n in one.names))
        merged = msgspec.structs.replace(model, names=names)
        self._found[name] = msgspec.structs.replace(provider, models=(*others, merged))

    def _free_name(self, kind: str) -> str:
        number, name = 1, kind
        while name in self._found or name in self._taken or NAME.fullmatch(name) is None:
            number += 1
            name = f"{kind}-{number}"
        return name


def _kind_and_model(params: Mapping[str, Any]) -> tuple[str | None, str]:
    whole = _text(params.get("model"))
    prefix, _, model = whole.partition("/")
    chosen = _text(params.get("custom_llm_provider")) or (prefix if model else "")
    kind = _KINDS.get(chosen)
    own_address = bool(params.get("api_base") or params.get("base_url"))
    if kind == "openai" and own_address:
        kind = "openai-compatible"
    if kind is None and not model:
        kind = _bare(whole, own_address)
        return kind, whole
    return kind, model if _KINDS.get(prefix) else whole


def _bare(model: str, own_address: bool) -> str | None:
    """LiteLLM knows the cloud by the model's name alone."""
    if own_address:
        return "openai-compatible"
    if model.startswith("claude-"):
        return "anthropic"
    return "openai" if re.match(r"(gpt-|o\d|chatgpt-|text-embedding-)", model) else None


def _model(model: str, name: str, params: Mapping[str, Any]) -> ProviderModel:
    costs = [params.get(f"{which}_cost_per_token") for which in ("input", "output")]
    price = None
    if all(isinstance(cost, int | float) for cost in costs):
        per_million = [round(float(cast("float", cost)) * 1_000_000, 6) for cost in costs]
        price = Price(input=per_million[0], output=per_million[1])
    return ProviderModel(id=model, names=(name,), price=price)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
