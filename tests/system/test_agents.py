"""Real coding agents run a real task through the node."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.fake_service import Step, model, say
from tests.fakes.running_gateway import RunningGateways
from tests.system.agents import AGENTS, ask, install
from tests.system.conftest import StartNode

from ai_assistant.protocol.chunks import TokenChunk, ToolCallDelta, Usage
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUESTION = "Write the word heron into the file proof.txt."
COMMAND = "printf heron > proof.txt"
ANSWER = "The file is written: kingfisher."

SHORT: dict[str, tuple[str, ...]] = {
    "claude": ("--system-prompt", "Be brief.", "--tools", ""),
    "codex": (),
    "opencode": (),
}
"""Those whose first prompt a processor reads in a minute, and what makes it shorter."""


@pytest.fixture(scope="session", params=AGENTS)
def agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """An agent's name and the folder of its program."""
    name: str = request.param
    return name, install(name, tmp_path_factory.mktemp("agents") / name)


@pytest.fixture(scope="session")
def gateways() -> Iterator[RunningGateways]:
    running = RunningGateways()
    yield running
    running.stop()


def roomy() -> Any:
    """A model with the room that agents want."""
    one = model("starter", default=True)
    info = msgspec.structs.replace(one.model, context_train=200_000)
    return msgspec.structs.replace(one, model=info)


def writes_the_file(name: str) -> Callable[[GenerateRequest], Sequence[Step]]:
    """A model that calls the agent's shell once and then says that it is done."""
    tool, argument = AGENTS[name].tool, AGENTS[name].command

    def answer(request: GenerateRequest) -> Sequence[Step]:
        prompt = request.prompt
        assert isinstance(prompt, ChatPrompt)
        shells = [one.parameters or {} for one in prompt.tools if one.name == tool]
        if not shells:
            return say("A title")  # some ask for one beside the task
        if any(message.role == "tool" for message in prompt.messages):
            return say("The file is ", "written: ", "kingfisher.")
        given = {argument: COMMAND, "description": "Writes.", "is_background": False}
        arguments = {key: given[key] for key in given if key in shells[0]["properties"]}
        text = msgspec.json.encode(arguments).decode()
        call = ToolCallDelta(index=0, id="call_1", name=tool)
        return [
            TokenChunk(text="I write it."),
            TokenChunk(tool_calls=(call,)),
            TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments=text[:9]),)),
            TokenChunk(tool_calls=(ToolCallDelta(index=0, arguments=text[9:]),)),
            TokenChunk(finish="tool_calls", usage=Usage(prompt_tokens=900, completion_tokens=30)),
        ]

    return answer


def test_an_agent_runs_the_tool_that_was_called(
    agent: tuple[str, Path], gateways: RunningGateways, tmp_path: Path
) -> None:
    name, programs = agent
    gateway = gateways.with_settings()
    gateway.service.models = (roomy(),)
    gateway.service.script = writes_the_file(name)
    done = ask(name, QUESTION, url=gateway.url, programs=programs, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "proof.txt").read_text() == "heron", done.stdout + done.stderr
    assert ANSWER in done.stdout
    last = gateway.service.asked[-1].prompt
    assert isinstance(last, ChatPrompt)
    results = [message for message in last.messages if message.role == "tool"]
    assert len(results) == 1


@pytest.mark.parametrize("agent", SHORT, indirect=True)
def test_an_agent_gets_an_answer_of_a_real_model(
    agent: tuple[str, Path], start_node: StartNode, tmp_path: Path
) -> None:
    """The starter understands nothing of so much text: what counts is that words arrive."""
    name, programs = agent
    node = start_node("--context", "24000", AI_ASSISTANT_ENGINE_THREADS="2")
    node.wait_ready()
    home = tmp_path / "home"
    home.mkdir()
    done = ask(name, "Say hello.", url=node.url, programs=programs, home=home, extra=SHORT[name])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    node.wait_for(lambda: node.model()["engine"]["generated_tokens"] > 0)
    metrics = node.http.get("/metrics").text
    endpoint = {"claude": "messages", "codex": "responses"}.get(name, "chat/completions")
    assert f'endpoint="/v1/{endpoint}",status="200"' in metrics
