"""`models`, `ps` and `bench`."""

import json
from collections.abc import Callable

import msgspec
import pytest
from tests.cli.conftest import Invoke, Served
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_service import FakeService, Step, model

from ai_assistant.cli import bench
from ai_assistant.cli.client import Client
from ai_assistant.cli.output import columns, duration, printable, size
from ai_assistant.cli.ps import more_row
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import ContextLengthExceeded
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest, Priority
from ai_assistant.protocol.status import EngineStatus, ModelStatus

Serve = Callable[..., Served]

ENGINE = EngineStatus(
    pid=9,
    slots=4,
    running=2,
    waiting=1,
    parked=3,
    context_limit=1024,
    cells_total=8192,
    cells_used=512,
    cells_retained=0,
    prompt_tokens=1,
    cached_tokens=0,
    generated_tokens=1,
    prefill_tokens_per_second=900.0,
    decode_tokens_per_second=123.45,
    steps=1,
    decode_ms_mean=1.5,
    python_ms_mean=0.25,
    memory_bytes=70_000_000,
    threads=2,
)


def with_engine(one: ModelStatus, **changes: object) -> ModelStatus:
    return msgspec.structs.replace(one, engine=ENGINE, **changes)


SERVICE_MODELS = (
    with_engine(model("starter", default=True), restarts=1),
    msgspec.structs.replace(model("big", state="loading"), progress=0.25, eta_seconds=90.0),
    msgspec.structs.replace(model("bad", state="failed"), error="It is not a GGUF file."),
)


def test_models_of_the_node(invoke: Invoke, serve: Serve) -> None:
    node = serve(FakeService(models=SERVICE_MODELS))
    lines = invoke("models", "--url", node.url).stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "SIZE"]
    assert lines[1].split() == ["starter", "1", "kB", "Q8_0", "0", "M", "1024", "ready", "default"]
    assert "loading 25%" in lines[2]
    shown = json.loads(invoke("models", "--json", "--url", node.url).stdout)
    assert shown[0]["context"] == 1024
    assert shown[1]["context"] == 2048


def test_models_on_disk_where_no_node_runs(
    invoke: Invoke, fake_node: FakeNode, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_ASSISTANT_SERVER_PORT", str(free_port))
    fake_node.models = (model("starter").model,)
    result = invoke("models")
    assert "starter" in result.stdout
    assert "on disk" in result.stdout
    assert "No node is running" in result.stderr
    assert json.loads(invoke("models", "--json").stdout)[0]["state"] == "on disk"
    fake_node.models = ()
    assert "There is no model" in invoke("models").stdout


def test_a_named_node_must_answer(invoke: Invoke, free_port: int) -> None:
    for name in ("models", "ps"):
        assert invoke(name, "--url", f"http://127.0.0.1:{free_port}").exit_code == 3


def test_what_the_node_is_doing(invoke: Invoke, serve: Serve) -> None:
    node = serve(FakeService(models=SERVICE_MODELS))
    text = invoke("ps", "--url", node.url).stdout
    row = next(line for line in text.splitlines() if line.startswith("starter (default)"))
    assert row.split()[2:] == ["ready", "2/4", "1", "3", "123.5", "512/8192", "70.0", "MB"]
    more = [line for line in text.splitlines() if line.startswith("starter  ")]
    assert more[0].split()[1:] == ["2/2", "0.0", "cores", "0", "B", "0", "B", "0/0/0", "0", "-"]
    assert "starter: 1 restart" in text
    assert "big: ready in about 1 min 30 s" in text
    assert "bad: It is not a GGUF file." in text
    shown = json.loads(invoke("ps", "--json", "--url", node.url).stdout)
    assert shown["models"][0]["engine"]["parked"] == 3


def test_what_an_engine_makes_of_the_machine() -> None:
    busy = msgspec.structs.replace(
        ENGINE, threads_batch=4, cores_busy=0.43, warm_bytes=12_000_000, cold_bytes=1_200_000_000,
        cached_tokens=1000, warm_hit_tokens=310, cold_hit_tokens=54, preemptions=2,
        drafted_tokens=1200, accepted_tokens=852,
    )  # fmt: skip
    told = ("m", "2/4", "0.4 cores", "12.0 MB", "1.2 GB", "636/310/54", "2", "71%")
    assert more_row("m", busy) == told


def script(request: GenerateRequest) -> list[Step]:
    """As many tokens as asked; a context of 200 words."""
    prompt = request.prompt
    assert isinstance(prompt, ChatPrompt)
    words = len((prompt.messages[0].content or "").split())
    if words > 200:
        return [ContextLengthExceeded("Too long.")]
    count = request.max_tokens or 1
    steps: list[Step] = []
    for _ in range(count):
        steps += [TokenChunk(text="x "), 0.001]
    usage = Usage(prompt_tokens=words, completion_tokens=count)
    return [*steps, TokenChunk(finish="length", usage=usage)]


def test_a_benchmark(invoke: Invoke, serve: Serve) -> None:
    node = serve(FakeService(script=script, models=SERVICE_MODELS))
    flags = ["--tokens", "16", "--streams", "4", "--url", node.url]
    result = invoke("bench", "--json", *flags)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["model"] == "starter"
    assert figures["streams"] == 4
    assert 100 < figures["prefill_tokens"] < 200
    speeds = [value for name, value in figures.items() if "second" in name]
    assert len(speeds) == 3
    assert min(speeds) > 0
    assert {request.priority for request in node.service.asked} == {Priority.NORMAL}
    assert (figures["decode_ms_mean"], figures["python_ms_mean"]) == (1.5, 0.25)
    assert all(request.ignore_eos for request in node.service.asked)
    assert "decode, 4 streams" in invoke("bench", *flags).stdout


def test_no_prompt_of_a_benchmark_is_in_a_cache(serve: Serve) -> None:
    node = serve(FakeService(script=script))
    client = Client(node.url)
    bench.measure(client, None, tokens=8, streams=2, note=lambda _: None)
    client.close()
    prompts = [request.prompt for request in node.service.asked]
    assert len({str(prompt) for prompt in prompts}) == len(prompts)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5.9, "5 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_are_aligned() -> None:
    table = columns(("a", "b"), [("long name", "x"), ("y", "z")])
    assert table.splitlines() == ["A          B", "long name  x", "y          z"]


def test_an_answer_cannot_command_the_terminal() -> None:
    assert printable("a\x1b]52;c;x\x07b\n\tc\x9b2J\r\x08é") == "a]52;c;xb\n\tc2Jé"
