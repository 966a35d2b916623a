"""Settings of providers: files, keys, prices, LiteLLM's config."""

import asyncio
import pickle
from pathlib import Path
from typing import Any

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from tests.workers.remote_tools import KEY, OpenGate

from ai_assistant.protocol.chunks import Usage
from ai_assistant.protocol.errors import AssistantError, InvalidRequest
from ai_assistant.protocol.offers import Price
from ai_assistant.workers.providers.fleet import Fleet, make_offer
from ai_assistant.workers.providers.keys import (
    KeyNotFound,
    NoKeyStore,
    find_key,
    forget_key,
    store_key,
)
from ai_assistant.workers.providers.litellm_config import read_litellm
from ai_assistant.workers.providers.provider import Provider, ProviderModel, check
from ai_assistant.workers.providers.providers_file import (
    ProvidersUnreadable,
    put_provider,
    read_providers,
    remove_provider,
)
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.address import place_of
from ai_assistant.workers.remote.secret import Secret

OPENAI = Provider(
    kind="openai", key="env:K", models=(ProviderModel(id="gpt-4o-mini", names=("mini",)),)
)


class MemoryKeyring(KeyringBackend):
    """A key store that forgets when the test ends."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


# Files.


def test_what_is_put_is_read_and_remarks_stay(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "providers.toml"
    put_provider(path, "openai", OPENAI)
    path.write_text("# mine\n" + path.read_text())
    other = Provider(base_url="http://10.0.0.2/v1", region="eu")
    put_provider(path, "desk", other)
    assert read_providers(path) == {"openai": OPENAI, "desk": other}
    assert "# mine" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert remove_provider(path, "openai") == OPENAI
    assert remove_provider(path, "openai") is None
    assert read_providers(path) == {"desk": other}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a\n", "not valid TOML"),
        ("[a]\nkind = 3\n", "$[...].kind"),
        ("[a]\nkind = 'openai'\nkee = 'x'\n", "kee"),
        ("[a]\nkind = 'nobody'\n", "nobody"),
        ("[a]\nkind = 'vllm'\n", "base_url"),
        ("[a]\nbase_url = 'http://example.com/v1'\n", "https://"),
        ("[a]\nbase_url = 'https://user:pw@example.com'\n", "leave the key out"),
        ("[A]\nkind = 'openai'\n", "cannot be named"),
        ("[a]\nkind = 'openai'\n[a.deadlines]\nconnect = 0\n", "deadlines.connect"),
        ("[a]\nkind = 'openai'\nmax_requests = 0\n", "max_requests"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(text)
    with pytest.raises(ProvidersUnreadable) as caught:
        read_providers(path)
    assert words in caught.value.message
    with pytest.raises(AssistantError):
        put_provider(path, "openai", OPENAI)
    assert path.read_text() == text


def test_a_key_in_the_settings_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check("a", Provider(kind="openai", key=KEY))
    assert KEY not in caught.value.message


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("localhost", "machine"),
        ("127.0.0.1", "machine"),
        ("::1", "machine"),
        ("192.168.1.5", "lan"),
        ("10.1.1.1", "lan"),
        ("fd00::1", "lan"),
        ("8.8.8.8", "cloud"),
        ("desk.local", "cloud"),
        ("api.openai.com", "cloud"),
        ("0.0.0.0", "cloud"),
    ],
)
def test_a_place_that_is_not_certain_is_a_strangers(host: str, place: str) -> None:
    assert place_of(host) == place


@given(st.text())
def test_odd_names_of_hosts_never_fail(host: str) -> None:
    place_of(host)


# Keys.


def test_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    secret = Secret(KEY)
    shown = f"{secret} {secret!r} {secret!s:>40} {[secret]} {secret.__class__}"
    assert KEY not in shown
    assert secret.reveal() == KEY
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_keys_come_from_where_the_settings_say(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    assert find_key("a", "env:K", {"K": KEY}, tmp_path).reveal() == KEY
    assert find_key("a", "file:key", {}, tmp_path).reveal() == KEY
    assert not find_key("a", "", {}, tmp_path)
    file.chmod(0o644)
    for source, environ in [("file:key", {}), ("file:none", {}), ("env:K", {}),
                            ("env:K", {"K": "a b"})]:  # fmt: skip
        with pytest.raises(KeyNotFound):
            find_key("a", source, environ, tmp_path)


def test_the_key_store_keeps_keys_and_forgets_them(tmp_path: Path) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(MemoryKeyring())
    try:
        store_key("a", Secret(KEY))
        assert find_key("a", "keyring", {}, tmp_path).reveal() == KEY
        forget_key("a")
        with pytest.raises(KeyNotFound):
            find_key("a", "keyring", {}, tmp_path)
    finally:
        keyring.set_keyring(before)


def test_a_system_without_a_key_store_says_what_else_works(tmp_path: Path) -> None:
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        with pytest.raises(NoKeyStore, match="--key-env"):
            store_key("a", Secret(KEY))
        forget_key("a")
    finally:
        keyring.set_keyring(before)


# Workers and prices.


def test_a_provider_without_its_key_is_a_problem_and_no_worker(tmp_path: Path) -> None:
    async def run() -> None:
        lm = Provider(kind="lmstudio", models=(ProviderModel(id="x"),))
        fleet = Fleet(
            {"openai": OPENAI, "lm": lm},
            environ={},
            folder=tmp_path,
            gate=OpenGate(),
            records=RecordsFile(tmp_path / "seen.json"),
        )
        assert list(fleet.problems) == ["openai"]
        assert [worker.offer.names for worker in fleet.named("lm/x")] == [("lm/x",)]
        assert fleet.named("mini") == []
        await fleet.close()

    asyncio.run(run())


def test_prices_are_known_can_be_overridden_and_count_what_is_cached() -> None:
    known = make_offer("openai", OPENAI, OPENAI.models[0]).price
    assert known
    assert 0 < known.input < known.output
    assert known.cached_input
    assert known.cached_input < known.input
    mine = Price(input=1.0, output=2.0, cached_input=0.5)
    model = ProviderModel(id="gpt-4o-mini", price=mine)
    assert make_offer("openai", OPENAI, model).price == mine
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000, cached_tokens=500_000)
    assert mine.of(usage) == pytest.approx(0.5 + 0.25 + 2.0)
    assert make_offer("o", OPENAI, ProviderModel(id="no-such-model")).price is None
    vllm = Provider(kind="vllm", base_url="http://10.0.0.2/v1")
    assert make_offer("v", vllm, ProviderModel(id="x")).price == Price(input=0, output=0)
    rented = Provider(kind="vllm", base_url="https://rented.example/v1")
    assert make_offer("v", rented, ProviderModel(id="x")).price is None


# LiteLLM.

LITELLM = f"""
model_list:
  - model_name: mini
    litellm_params: {{model: openai/gpt-4o-mini, api_key: os.environ/MY_KEY, rpm: 60}}
  - model_name: big
    litellm_params: {{model: gpt-4o, api_key: os.environ/MY_KEY, input_cost_per_token: 0.0000025,
                      output_cost_per_token: 0.00001}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude-sonnet-4-5}}
  - model_name: mini
    litellm_params: {{model: hosted_vllm/qwen, api_base: "http://10.0.0.2:8000/v1"}}
  - model_name: llama
    litellm_params: {{model: ollama_chat/llama3.2, api_base: "http://127.0.0.1:11434"}}
  - model_name: own
    litellm_params: {{model: openai/x, api_base: "https://example.com/v1", api_key: {KEY}}}
  - model_name: aws
    litellm_params: {{model: bedrock/claude-v2}}
  - model_name: broken
  - 7
router_settings: {{routing_strategy: least-busy}}
"""


def test_litellm_models_become_providers_and_the_rest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(LITELLM)
    found = read_litellm(path, frozenset({"vllm"}))
    openai = found.providers["openai"]
    assert openai.key == "env:MY_KEY"
    assert [(m.id, m.names) for m in openai.models] == [
        ("gpt-4o-mini", ("mini",)),
        ("gpt-4o", ("big",)),
    ]
    assert openai.models[1].price == Price(input=2.5, output=10.0)
    assert found.providers["anthropic"].key == "env:ANTHROPIC_API_KEY"
    assert found.providers["vllm-2"].base_url == "http://10.0.0.2:8000/v1"
    assert found.providers["ollama"].base_url == "http://127.0.0.1:11434/v1"
    assert found.providers["openai-compatible"].key == ""
    left = "\n".join(found.left_out)
    for words in ("rpm", "bedrock", "router_settings", "its key stands in the file", "model 9"):
        assert words in left
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    "text", ["", "a: [", "model_list: 3", "- a", "&a [*a]", "!!python/object:x {}"]
)
def test_what_is_not_litellms_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest):
        read_litellm(path)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
PARAMS = st.dictionaries(
    st.sampled_from(["model", "api_base", "api_key", "input_cost_per_token", "rpm"]), JSONISH
)


@given(st.lists(st.fixed_dictionaries({"model_name": JSONISH, "litellm_params": PARAMS})))
def test_odd_entries_never_fail(entries: list[Any]) -> None:
    import tempfile

    import yaml

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(yaml.safe_dump({"model_list": entries}))
        read_litellm(path)
