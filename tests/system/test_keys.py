"""Keys of a real node: the official clients at each limit, through restarts and kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from tests.system.running_node import RunningNode

ASK: Any = {"model": "starter", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


CLIENTS: list[openai.OpenAI | anthropic.Anthropic] = []
RULES = '[unlabelled]\nallow = ["lan"]\n[labels.customer-data]\nallow = ["machine"]\n'


def provider(name: str, desk: RunningNode, *, place: str, price: float) -> str:
    """A node as a provider that takes so much for a million tokens."""
    return (
        f'[{name}]\nkind = "ai-assistant"\nbase_url = "{desk.url}/v1"\nplace = "{place}"\n'
        f"[{name}.deadlines]\nfirst_token = 30\n"
        f'[[{name}.models]]\nid = "starter"\nnames = ["{name}"]\n'
        f"price = {{ input = {price}, output = {price} }}\n"
    )


class Office:
    """A folder with settings in which nodes start one after the other, and the command."""

    def __init__(self, folder: Path, desk: RunningNode) -> None:
        """`desk`: a node that is a provider of this one, dear and near, and free and away."""
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "config.toml").write_text('[store]\ndata_dir = "data"\n')
        (folder / "policy.toml").write_text(RULES)
        (folder / "providers.toml").write_text(
            provider("far", desk, place="machine", price=1000.0)
            + provider("away", desk, place="lan", price=0.0)
        )
        self.secrets: list[str] = []

    def keys(self, *words: str) -> Any:
        """`ai-assistant keys WORDS --json`."""
        done = subprocess.run(
            [sys.executable, "-m", "ai_assistant", "keys", *words, "--json",
             "--config", str(self.folder / "config.toml")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def add(self, *words: str) -> str:
        secret: str = self.keys("add", *words)["key"]
        self.secrets.append(secret)
        time.sleep(0.3)  # A node looks four times a second.
        return secret

    def start(self, key: str = "none") -> RunningNode:
        node = RunningNode(self.folder)
        node.http.headers["authorization"] = f"Bearer {key}"
        node.wait_ready()
        return node


def at(node: RunningNode, key: str, **options: Any) -> openai.OpenAI:
    """OpenAI's client; it is closed when the test ends."""
    made = openai.OpenAI(base_url=f"{node.url}/v1", api_key=key, **{"max_retries": 0, **options})
    CLIENTS.append(made)
    return made


def claude(node: RunningNode, key: str) -> anthropic.Anthropic:
    """Anthropic's."""
    made = anthropic.Anthropic(base_url=node.url, api_key=key, max_retries=0)
    CLIENTS.append(made)
    return made


def read_by(node: RunningNode) -> int:
    """Tokens of prompts that have reached its engine."""
    return node.model()["engine"]["prompt_tokens"]


def refused_within(
    tries: int, client: openai.OpenAI, **changes: Any
) -> openai.RateLimitError | None:
    """Ask until it is too much."""
    for _ in range(tries):
        try:
            client.chat.completions.create(**{**ASK, **changes})
        except openai.RateLimitError as error:
            return error
    return None


def kill(node: RunningNode) -> None:
    node.http.close()
    node.openai.close()
    os.kill(node.process.pid, signal.SIGKILL)
    node.process.wait(10)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    running = RunningNode(tmp_path_factory.mktemp("desk"))
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, desk: RunningNode) -> Office:
    return Office(tmp_path_factory.mktemp("office"), desk)


@pytest.fixture(autouse=True)
def clients() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture(scope="module")
def node(office: Office) -> Iterator[RunningNode]:
    running = office.start()
    running.http.headers["authorization"] = f"Bearer {office.add('chief')}"
    yield running
    running.stop()


def test_a_key_holds_on_the_node_that_runs(node: RunningNode, office: Office) -> None:
    with pytest.raises(openai.AuthenticationError):
        at(node, "nobody").chat.completions.create(**ASK)
    ann = office.add("ann")
    assert at(node, ann).chat.completions.create(**ASK).choices
    office.keys("set", "ann", "--off")
    time.sleep(0.3)
    with pytest.raises(openai.AuthenticationError, match="switched off"):
        at(node, ann).chat.completions.create(**ASK)


@pytest.mark.parametrize(
    ("limit", "value"), [("requests-per-minute", "1"), ("tokens-per-minute", "5")]
)
def test_official_clients_see_their_rate_limit_error(
    node: RunningNode, office: Office, limit: str, value: str
) -> None:
    key = office.add(f"of-{limit}", f"--{limit}", value)
    assert at(node, key).chat.completions.create(**ASK).choices
    with pytest.raises(openai.RateLimitError) as refused:
        at(node, key).chat.completions.create(**ASK)
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) > 1
    with pytest.raises(openai.RateLimitError):
        list(at(node, key).chat.completions.create(**ASK, stream=True))
    with pytest.raises(anthropic.RateLimitError) as told:
        claude(node, key).messages.create(**ASK)
    assert told.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]


def test_a_client_that_waits_as_it_is_told_gets_its_answers(
    node: RunningNode, office: Office
) -> None:
    key = office.add("patient", "--requests-per-minute", "60")
    office.keys("set", "user:pat", "--requests-per-minute", "40")
    office.keys("set", "patient", "--user", "pat")
    time.sleep(0.3)
    client = at(node, key, max_retries=3)
    for _ in range(42):  # Two more than a minute's worth.
        assert client.chat.completions.create(**ASK).choices


def test_requests_at_once(node: RunningNode, office: Office) -> None:
    key = office.add("one-by-one", "--concurrency", "1")
    client = at(node, key)
    options: Any = {**ASK, "max_tokens": 2000, "stream": True, "extra_body": {"ignore_eos": True}}
    for _ in range(3):
        stream = client.chat.completions.create(**options)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError, match="under way"):
            client.chat.completions.create(**ASK)
        stream.close()
        deadline = time.monotonic() + 5
        while True:  # The node sees within a moment that the client has gone.
            try:
                assert client.chat.completions.create(**ASK).choices
                break
            except openai.RateLimitError:
                assert time.monotonic() < deadline
    for _ in range(10):
        assert client.chat.completions.create(**ASK).choices


def test_a_key_ends_and_has_its_models(node: RunningNode, office: Office) -> None:
    key = office.add("narrow", "--models", "other*")
    assert list(at(node, key).models.list()) == []
    with pytest.raises(openai.PermissionDeniedError):
        at(node, key).chat.completions.create(**ASK)
    with pytest.raises(anthropic.PermissionDeniedError):
        claude(node, key).messages.create(**ASK)
    office.keys("set", "narrow", "--models", "none", "--expires", "2020-01-01")
    time.sleep(0.3)
    with pytest.raises(openai.AuthenticationError, match="expired on 2020-01-02"):
        at(node, key).chat.completions.create(**ASK)
    with pytest.raises(anthropic.AuthenticationError):
        claude(node, key).messages.create(**ASK)


def test_secrets_are_nowhere_to_be_seen(node: RunningNode, office: Office) -> None:
    assert node.http.get("/metrics").status_code == 200
    shown = node.log.read_text() + node.http.get("/metrics").text + node.http.get("/status").text
    commands = [
        path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists() and os.access(path, os.R_OK)
    ]
    time.sleep(1.5)
    files = [path for path in office.folder.rglob("*") if path.is_file()]
    assert any(path.name == "key-usage.db" for path in files)
    held = b"".join(path.read_bytes() for path in files)
    for secret in office.secrets:
        assert secret not in shown
        assert secret.encode() not in held
        assert not any(secret.encode() in command for command in commands)


def test_money_is_spent_to_the_budget_and_no_further(
    node: RunningNode, office: Office, desk: RunningNode
) -> None:
    key = office.add("spender", "--dollars-per-day", "0.5")
    refused = refused_within(60, at(node, key), model="far")
    assert refused
    assert refused.code == "insufficient_quota"
    assert 0 < int(refused.response.headers["retry-after"]) <= 86_400
    with pytest.raises(anthropic.RateLimitError):
        claude(node, key).messages.create(**{**ASK, "model": "far"})
    before = read_by(desk)
    assert refused_within(1, at(node, key), model="far")
    assert read_by(desk) == before, "it was refused beforehand"
    assert at(node, key).chat.completions.create(**ASK).choices, "here it costs nothing"


def test_what_a_key_declares_never_reaches_a_provider_that_may_not_have_it(
    node: RunningNode, office: Office, desk: RunningNode
) -> None:
    support = office.add("support", "--labels", "customer-data")
    unknown = office.add("unknown", "--labels", "nobody-knows-this")
    plain = office.add("plain")
    away: Any = {**ASK, "model": "away"}
    before = read_by(desk)
    for key in (support, unknown):
        with pytest.raises(openai.APIStatusError, match=r"customer-data|nobody-knows"):
            at(node, key).chat.completions.create(**away)
        with pytest.raises(openai.APIStatusError):
            at(node, key).embeddings.create(model="away", input="secret")
    assert read_by(desk) == before
    assert at(node, plain).chat.completions.create(**away).choices
    assert read_by(desk) > before


def test_counts_and_money_outlive_a_kill(tmp_path: Path, desk: RunningNode) -> None:
    office = Office(tmp_path / "office", desk)
    chief = office.add("chief")
    counted = office.add("counted", "--requests-per-minute", "3", "--team", "lab")
    rich = office.add("rich", "--dollars-per-day", "0.5")
    node = office.start(chief)
    for _ in range(3):
        assert at(node, counted).chat.completions.create(**ASK).choices
        assert at(node, rich).chat.completions.create(**{**ASK, "model": "far"}).choices
    time.sleep(1.2)  # What is counted is written once a second.
    kill(node)
    before = office.keys("show", "rich")["used"]["today"]["dollars"]
    assert before > 0.03
    node = office.start(chief)
    try:
        assert refused_within(2, at(node, counted)), "one may have come in meanwhile"
        assert refused_within(60, at(node, rich), model="far")
    finally:
        node.stop()
    assert 0.3 < office.keys("show", "rich")["used"]["today"]["dollars"] <= 0.5
    used = office.keys("show", "counted")["used"]["today"]
    assert 3 <= used["requests"] <= 4
    assert used["refused"] >= 1
    assert used["tokens"] > 12
    lab = office.keys("set", "team:lab", "--concurrency", "1")["used"]["today"]
    assert lab["requests"] == used["requests"]
