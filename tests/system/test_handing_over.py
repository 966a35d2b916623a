"""A conversation goes to another node while it is speaking: the client's text is what it would have
been, token for token, whoever goes away and however.

That the tokens are read as these very tokens shows in what the node counts as prompt. Behind the
end of its story the starter babbles: there a node that reads all tokens at once, which another one
computed one by one, may choose otherwise where two are close.
"""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.system.running_node import RunningNode, ready_node
from tests.system.test_elsewhere import front, providers

from ai_assistant.store.models import starter_path

TOKENS = 600
ASKED: dict[str, Any] = {
    "model": "starter",
    "messages": [{"role": "user", "content": "Tell me a story about a boat."}],
    "max_tokens": TOKENS,
    "temperature": 0,
    "repetition_penalty": 1.0,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}


class Heard:
    """What a client got of one streamed answer."""

    def __init__(self) -> None:
        self.text = ""
        self.usage: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None

    def note(self, event: dict[str, Any]) -> None:
        self.error = event.get("error") or self.error
        self.usage = event.get("usage") or self.usage
        self.told = event.get("ai_assistant") or self.told
        for choice in event.get("choices", ()):
            assert "ai_assistant" not in choice, "tokens are for nodes"
            self.text += choice["delta"].get("content") or ""


def hear(
    node: RunningNode, act: Callable[[], object] = lambda: None, at: int = 100, **fields: Any
) -> Heard:
    """An answer; `act` happens when so many characters of it have come."""
    heard, acting = Heard(), threading.Thread(target=act)
    with httpx.stream(
        "POST", f"{node.url}/v1/chat/completions", json=ASKED | fields, timeout=60
    ) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                heard.note(json.loads(line[6:]))
            if len(heard.text) > at and acting.ident is None:
                acting.start()
    acting.join()
    return heard


def here_and_at(*others: RunningNode) -> str:
    """The starter is here and, under the same name, at the others."""
    return providers(*others).replace('"far"', '"starter"')


def woken(node: RunningNode, model: str = "starter") -> RunningNode:
    """A node whose engine has read how its tokens are spelled: it does so at the first answer."""
    hear(node, model=model, max_tokens=40, messages=[{"role": "user", "content": "Count to ten."}])
    return node


def kill(node: RunningNode) -> None:
    os.kill(node.process.pid, signal.SIGKILL)


def terminate(node: RunningNode) -> None:
    node.process.terminate()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with ready_node(tmp_path_factory.mktemp("desk")) as node:
        yield node


@pytest.fixture(scope="module")
def node(desk: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """The starter is here, and there."""
    made = woken(front(tmp_path_factory.mktemp("front"), here_and_at(desk)))
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def story(desk: RunningNode) -> str:
    """What is said when nothing happens, up to its natural end."""
    found = hear(desk, ignore_eos=False).text
    assert len(found) > 400
    return found


def assert_continued(heard: Heard, story: str) -> None:
    assert heard.error is None
    assert heard.text[: len(story)] == story
    assert heard.usage["completion_tokens"] == TOKENS
    assert heard.told["worker"].endswith("/starter"), heard.told
    assert heard.told["before"], "somebody else had begun it"


def prompts_of(desk: RunningNode, model: str = "starter") -> int:
    """Tokens of prompts so far, when all that it has answered is counted."""
    seen = -1

    def settled() -> bool:
        nonlocal seen
        time.sleep(0.6)
        before, seen = seen, desk.model(model)["engine"]["prompt_tokens"]
        return before == seen

    desk.wait_for(settled)
    return seen


def assert_read_as_tokens(desk: RunningNode, before: int, heard: Heard) -> None:
    """The beginning of the answer was no prompt there, as it is where its text is read. The prompt
    may be counted several times: it is read before the answer is taken over."""
    read = prompts_of(desk) - before
    assert read
    assert read % heard.usage["prompt_tokens"] == 0


def test_answers_go_to_the_node_that_is_named(node: RunningNode, story: str) -> None:
    said: list[str] = []

    def move() -> None:
        told = node.command("move", "starter", "--to", "desk0")
        said.append(told.stdout + told.stderr)

    heard = hear(node, move)
    assert_continued(heard, story)
    assert said == ["1 of 1 answers of starter go on at desk0.\n"]
    assert node.model()["engine"]["running"] == 0


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"temperature": 0.9, "presence_penalty": 0.5}, r"(?s).{600,}"),
        ({"guided_regex": "[a-z ]{500,600}", "ignore_eos": False}, "[a-z ]{500,600}"),
    ],
    ids=["drawn", "regex"],
)
def test_random_numbers_and_grammars_go_on_too(
    desk: RunningNode, node: RunningNode, fields: dict[str, Any], form: str
) -> None:
    def move() -> None:
        answer = node.http.post("/admin/models/starter/hand-over", json={"to": "desk0"})
        assert answer.json()["gone"] == 1, answer.text

    before = prompts_of(desk)
    heard = hear(node, move, **fields)
    assert re.fullmatch(form, heard.text)
    assert heard.told["before"] == ["starter"]
    assert_read_as_tokens(desk, before, heard)


def test_a_name_that_is_no_node_is_refused_in_plain_words(node: RunningNode) -> None:
    answer = node.http.post("/admin/models/starter/hand-over", json={"to": "attic"})
    assert answer.status_code == 400
    assert "These do: desk0." in answer.json()["error"]["message"]


def test_a_node_that_is_stopped_hands_over_what_it_answers(
    desk: RunningNode, story: str, tmp_path: Path
) -> None:
    node = woken(front(tmp_path, here_and_at(desk)))
    try:
        heard = hear(node, node.process.terminate)
        assert_continued(heard, story)
        assert heard.told["worker"] == "desk0/starter"
        assert heard.told["before"] == ["starter"]
        assert "handed the answer on" in heard.told["why"]
        assert node.process.wait(30) == 0
    finally:
        node.stop()


@pytest.mark.parametrize("stop", [kill, terminate])
def test_a_node_behind_another_goes_away(
    desk: RunningNode, story: str, tmp_path: Path, stop: Callable[[RunningNode], None]
) -> None:
    (tmp_path / "victim").mkdir()
    victim = RunningNode(tmp_path / "victim")
    victim.wait_ready()
    node = woken(front(tmp_path / "front", providers(victim, desk)), "far")
    try:
        before = prompts_of(desk)
        heard = hear(node, lambda: stop(victim), model="far")
        assert_continued(heard, story)
        assert heard.told["before"] == ["desk0/starter"]
        assert victim.process.wait(30) == (0 if stop is not kill else -signal.SIGKILL)
        assert_read_as_tokens(desk, before, heard)
    finally:
        node.stop()
        victim.stop()


PROTECTED = """
[unlabelled]
allow = ["lan"]
[labels.email]
allow = ["machine"]
"""


def test_what_the_rules_keep_here_is_answered_here(desk: RunningNode, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(PROTECTED)
    node = woken(front(tmp_path, here_and_at(desk).replace('"machine"', '"lan"')))
    messages = [{"role": "user", "content": "Write to jane.roe@example.org about her boat."}]
    told: list[dict[str, Any]] = []

    def move() -> None:
        answer = node.http.post("/admin/models/starter/hand-over", json={"to": "desk0"})
        told.append(answer.json())

    try:
        before = desk.model()["engine"]["prompt_tokens"]
        heard = hear(node, move, messages=messages)
        assert (told[0]["gone"], told[0]["sequences"]) == (0, 1)
        assert desk.model()["engine"]["prompt_tokens"] == before, "nothing was sent"
        assert heard.error is None
        assert heard.usage["completion_tokens"] == TOKENS
        assert heard.told["worker"] == "starter"
        assert "does not take an answer over" in node.log.read_text()
        refused = [path.read_text(errors="replace") for path in egress_files(tmp_path)]
        assert any('"refused"' in text for text in refused), "and the log of egress says so"
    finally:
        assert node.stop() == 0


@pytest.mark.slow
def test_another_model_of_that_name_goes_on_with_the_text(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    other = tmp_path / "desk/other.gguf"
    described = starter_path().read_bytes()
    other.write_bytes(described.replace(b"It knows little", b"It knows enough"))
    desk = RunningNode(tmp_path / "desk", "--model", str(other))
    desk.wait_ready("other")
    there = here_and_at(desk).replace('id = "starter"', 'id = "other"')
    node = woken(front(tmp_path / "front", there))
    try:
        heard = hear(node, lambda: os.kill(engine_of(node), signal.SIGKILL))
        assert heard.error is None
        assert heard.told["before"] == ["starter"]
        assert heard.told["worker"] == "desk0/other"
        assert len(heard.text) > TOKENS
        assert heard.usage["completion_tokens"] == TOKENS
        # The beginning of the answer was prompt there.
        assert prompts_of(desk, "other") > heard.usage["prompt_tokens"] + 20
    finally:
        node.stop()
        desk.stop()


def engine_of(node: RunningNode) -> int:
    """Its process."""
    pid: int = node.model()["engine"]["pid"]
    return pid


def egress_files(folder: Path) -> list[Path]:
    """The records of what left."""
    return [path for path in (folder / "data/egress/node").rglob("*") if path.is_file()]
