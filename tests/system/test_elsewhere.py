"""Models of other servers behind one node: as a client sees them, and what the rules keep here."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.system.running_node import RunningNode

STORY = [{"role": "user", "content": "Tell me a story about a boat."}]


def providers(*others: RunningNode, place: str = "machine") -> str:
    """A `providers.toml` with the starter of each node, all under the name `far`."""
    return "".join(
        f'[desk{number}]\nkind = "ai-assistant"\nbase_url = "{one.url}/v1"\nplace = "{place}"\n'
        f'[desk{number}.deadlines]\nfirst_token = 30\nbetween_tokens = 10\n'
        f'[[desk{number}.models]]\nid = "starter"\nnames = ["far"]\n'
        for number, one in enumerate(others)
    )  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    node = RunningNode(tmp_path_factory.mktemp("desk"))
    node.wait_ready()
    yield node
    node.stop()


def front(folder: Path, settings: str) -> RunningNode:
    """A node whose providers these are; the settings lie beside its own."""
    folder.mkdir(exist_ok=True)
    (folder / "providers.toml").write_text(settings)
    node = RunningNode(folder)
    node.wait_ready()
    return node


def test_a_model_elsewhere_answers_like_one_here(desk: RunningNode, tmp_path: Path) -> None:
    node = front(tmp_path, providers(desk))
    try:
        assert "far" in [model.id for model in node.openai.models.list()]
        options = {"messages": STORY, "temperature": 0, "max_tokens": 24}
        there = desk.openai.chat.completions.create(model="starter", **options)
        here = node.openai.chat.completions.create(model="far", **options)
        assert here.choices[0].message.content == there.choices[0].message.content
        assert here.usage is not None
        assert here.usage.completion_tokens == 24
        log = (tmp_path / "data/egress/node").rglob("*")
        assert any("desk0" in path.read_text(errors="replace") for path in log if path.is_file())
    finally:
        assert node.stop() == 0


def test_without_rules_another_machine_gets_nothing(desk: RunningNode, tmp_path: Path) -> None:
    before = desk.wait_ready()["engine"]["prompt_tokens"]
    node = front(tmp_path, providers(desk, place="lan"))
    try:
        with pytest.raises(openai.APIStatusError) as refused:
            node.openai.chat.completions.create(model="far", messages=STORY)  # type: ignore[arg-type]
        assert "no rule file lets anything leave" in refused.value.message
        assert desk.model()["engine"]["prompt_tokens"] == before
    finally:
        node.stop()


def test_a_stream_goes_on_when_its_node_is_killed(desk: RunningNode, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    victim = RunningNode(tmp_path / "victim")
    victim.wait_ready()
    node = front(tmp_path / "front", providers(victim, desk))
    try:
        stream = node.openai.chat.completions.create(
            model="far", messages=STORY, max_tokens=400, stream=True,  # type: ignore[arg-type]
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
        )  # fmt: skip
        text, usage = "", None
        for number, chunk in enumerate(stream):
            usage = chunk.usage or usage
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
            if number == 3:
                os.kill(victim.process.pid, signal.SIGKILL)
        assert usage is not None
        assert usage.completion_tokens == 400
        assert len(text) > 400
    finally:
        node.stop()
        victim.stop()
