"""What networks and servers do to answers, with a real node behind the proxy."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.scripted_server import ScriptedServer, delta, stream, usage, whole
from tests.system.running_node import RunningNode
from tests.workers.remote_tools import KEY, QUICK, OpenGate, chat, collect, text_of, worker_at

from ai_assistant.protocol.errors import (
    AssistantError,
    ContextLengthExceeded,
    FirstTokenTimeout,
    MalformedAnswer,
    ProviderBusy,
    ProviderFailed,
    ProviderKeyRefused,
    ProviderModelMissing,
    ProviderOutOfCredit,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnreachable,
    StreamBroken,
    StreamStalled,
    UnsupportedFeature,
)
from ai_assistant.protocol.requests import Sampling
from ai_assistant.workers.remote.deadlines import Deadlines
from ai_assistant.workers.remote.refusals import refusal

GREEDY = Sampling(temperature=0.0)
CALM = Deadlines(connect=2, first_token=20, between_tokens=0.4)
REQUEST = chat("Tell me a story.", model="starter", sampling=GREEDY, max_tokens=200)
STARTER = {"id": "starter", "names": ("starter",)}


async def outcome(url: str, **settings: Any) -> tuple[str, AssistantError, float]:
    """The text before the error, the error, and the seconds that it took."""
    began, text = time.monotonic(), ""
    async with worker_at(url + "/v1", "ai-assistant", model=STARTER, **settings) as worker:
        try:
            async for chunk in worker.generate(REQUEST):
                text += chunk.text + chunk.reasoning
        except AssistantError as error:
            facts = worker.facts()
            assert facts.in_flight == 0
            return text, error, time.monotonic() - began
    raise AssertionError(f"it went well: {text!r}")


def struck(node: RunningNode, fault: Fault, **settings: Any) -> tuple[str, AssistantError, float]:
    async def run() -> tuple[str, AssistantError, float]:
        async with FaultProxy(node.url, fault).running() as proxy:
            return await outcome(proxy.url, **settings)

    return asyncio.run(run())


def test_a_real_node_answers(upstream_node: RunningNode) -> None:
    async def run() -> None:
        url = upstream_node.url + "/v1"
        async with worker_at(url, "ai-assistant", model=STARTER, deadlines=CALM) as worker:
            chunks = await collect(worker, REQUEST)
            usage = chunks[-1].usage
            assert usage
            assert not usage.estimated
            assert usage.completion_tokens > 20
            facts = worker.facts()
            assert facts.ttft.p50
            assert facts.tpot.p50
            assert (facts.requests, facts.errors, facts.state) == (1, 0, "ok")

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["reset", "close"])
@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_stream_that_breaks_says_how_far_it_got(
    upstream_node: RunningNode, kind: Any, after: int
) -> None:
    text, error, _ = struck(upstream_node, Fault(kind, after=after), deadlines=CALM)
    assert type(error) is StreamBroken
    assert error.reached.characters == len(text)
    assert error.reached.began == bool(text)
    assert error.retry_safe == (not text)


@pytest.mark.parametrize("kind", ["stall", "stall-pings"])
def test_a_stream_that_stalls_is_given_up_in_time(upstream_node: RunningNode, kind: Any) -> None:
    text, error, _ = struck(upstream_node, Fault(kind, after=3), deadlines=CALM)
    assert type(error) is StreamStalled
    assert text
    assert not error.retry_safe


@pytest.mark.parametrize("fault", [Fault("silent"), Fault("pings"), Fault("stall", after=0)])
def test_a_first_token_that_does_not_come_is_given_up_in_time(
    upstream_node: RunningNode, fault: Fault
) -> None:
    """Signs of life are no tokens."""
    _, error, seconds = struck(upstream_node, fault)
    assert type(error) is FirstTokenTimeout
    assert error.retry_safe
    assert QUICK.first_token <= seconds < QUICK.first_token + 0.5


def test_nonsense_in_the_middle_is_named(upstream_node: RunningNode) -> None:
    text, error, _ = struck(upstream_node, Fault("garbage", after=3), deadlines=CALM)
    assert type(error) is MalformedAnswer
    assert error.reached.characters == len(text) > 0


@pytest.mark.parametrize(
    "fault", [Fault("slow", seconds=0.0005, size=11), Fault("late", seconds=0.3)]
)
def test_what_is_only_slow_loses_nothing(upstream_node: RunningNode, fault: Fault) -> None:
    async def run() -> None:
        async with (
            FaultProxy(upstream_node.url, fault).running() as proxy,
            worker_at(proxy.url + "/v1", "ai-assistant", model=STARTER, deadlines=CALM) as worker,
        ):
            text = text_of(await collect(worker, REQUEST))
        said = [json.loads(event[6:]) for event in proxy.events if b"[DONE]" not in event]
        deltas = [choice["delta"] for event in said for choice in event["choices"]]
        assert text == "".join(delta.get("content", "") for delta in deltas) != ""

    asyncio.run(run())


def test_nobody_there_is_told_at_once() -> None:
    _, error, seconds = asyncio.run(outcome("http://127.0.0.1:1"))
    assert type(error) is ProviderUnreachable
    assert error.retry_safe
    assert seconds < 0.5


def test_a_server_that_hangs_up_at_once_is_a_broken_stream(upstream_node: RunningNode) -> None:
    _, error, _ = struck(upstream_node, Fault("refuse"))
    assert isinstance(error, StreamBroken | ProviderUnreachable)
    assert error.retry_safe


REFUSALS: list[tuple[int, dict[str, str], str, type[AssistantError], bool]] = [
    (401, {}, "invalid_api_key", ProviderKeyRefused, True),
    (403, {}, "permission_error", ProviderKeyRefused, True),
    (402, {}, "billing", ProviderOutOfCredit, True),
    (429, {}, "insufficient_quota", ProviderOutOfCredit, True),
    (429, {"retry-after": "7"}, "rate_limit_exceeded", ProviderRateLimited, True),
    (503, {"retry-after-ms": "250"}, "unavailable", ProviderOverloaded, True),
    (529, {}, "overloaded_error", ProviderOverloaded, True),
    (500, {}, "server_error", ProviderFailed, True),
    (502, {}, "", ProviderFailed, True),
    (404, {}, "model_not_found", ProviderModelMissing, True),
    (400, {}, "context_length_exceeded", ContextLengthExceeded, True),
    (400, {}, "invalid_request_error", ProviderRejected, False),
    (422, {}, "missing", ProviderRejected, False),
    (307, {"location": "http://127.0.0.1:1/steal"}, "", ProviderFailed, True),
]


@pytest.mark.parametrize(("status", "headers", "code", "expected", "elsewhere"), REFUSALS)
def test_refusals_have_kinds_that_a_router_can_act_on(
    status: int, headers: dict[str, str], code: str, expected: type[AssistantError], elsewhere: bool
) -> None:
    body = f'{{"error": {{"message": "no: {KEY}", "type": "{code}"}}}}'.encode()
    fault = Fault("status", status=status, headers=headers, body=body if code else b"<html>")

    async def run() -> None:
        async with FaultProxy("http://127.0.0.1:1", fault).running() as proxy:
            _, error, _ = await outcome(proxy.url)
            assert type(error) is expected
            assert error.retry_safe is elsewhere
            assert KEY not in str(error)
            assert KEY not in error.message
            if status == 429 and headers:
                assert error.retry_after == 7
            if status == 503:
                assert error.retry_after == 0.25

    asyncio.run(run())


VLLM, OLLAMA = "BadRequestError", "api_error"
WORDS = [
    (400, VLLM, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to '
     "be set", UnsupportedFeature),
    (400, OLLAMA, "registry.ollama.ai/library/gemma:2b does not support tools", UnsupportedFeature),
    (500, "server_error", "tools param requires --jinja flag", UnsupportedFeature),
    (400, VLLM, "max_tokens=9999 cannot be greater than max_model_len=2048",
     ContextLengthExceeded),
    (400, VLLM, "This model's maximum context length is 2048 tokens. However, your prompt contains "
     "at least 2049 input tokens", ContextLengthExceeded),
    (404, "NotFoundError", "The model `nope` does not exist. Valid aliases: starter.",
     ProviderModelMissing),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind", "words", "expected"), WORDS)
def test_servers_words_mean_something_to_a_router(
    status: int, kind: str, words: str, expected: type[AssistantError]
) -> None:
    error = {"message": words, "type": kind, "param": None, "code": status}
    caught = refusal("far", status, {}, msgspec.json.encode({"error": error}))
    assert type(caught) is expected
    assert caught.elsewhere


def test_a_whole_answer_does_not_wait_for_figures_that_do_not_come() -> None:
    """The text is complete; a server that then falls silent has harmed nothing."""

    async def run() -> None:
        script = stream(delta(content="Hello"), delta("stop"), 30.0)
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(server.url, deadlines=QUICK) as worker,
        ):
            chunks = await collect(worker, chat())
            assert (text_of(chunks), chunks[-1].finish) == ("Hello", "stop")
            assert chunks[-1].usage
            assert chunks[-1].usage.estimated

    asyncio.run(run())


def test_empty_pieces_are_no_tokens() -> None:
    async def run() -> None:
        pulse = [delta(content=""), 0.05] * 30
        script = stream(delta(role="assistant", content=""), *pulse, delta("stop", content="late"))
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(server.url) as worker,
        ):
            with pytest.raises(FirstTokenTimeout):
                await collect(worker, chat())

    asyncio.run(run())


def test_an_error_inside_a_stream_comes_after_what_was_said() -> None:
    async def run() -> None:
        error = {"error": {"message": "too many", "type": "rate_limit_error"}}
        script = stream(delta(content="Hel"), delta(content="lo"), error)
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(server.url) as worker,
        ):
            pieces = worker.generate(chat())
            assert (await anext(pieces)).text + (await anext(pieces)).text == "Hello"
            with pytest.raises(ProviderRateLimited) as caught:
                await anext(pieces)
            assert (caught.value.reached.characters, caught.value.reached.tokens) == (5, 2)

    asyncio.run(run())


def test_closing_the_iterator_ends_the_stream_at_once() -> None:
    async def run() -> None:
        script = stream(delta(content="a"), 30.0, delta("stop"))
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(server.url, deadlines=CALM) as worker,
        ):
            pieces = worker.generate(chat())
            assert (await anext(pieces)).text == "a"
            began = time.monotonic()
            await pieces.aclose()
            await asyncio.wait_for(server.someone_left.wait(), 5)
            assert time.monotonic() - began < 0.2
            assert worker.facts().in_flight == 0
            assert worker.facts().errors == 0

    asyncio.run(run())


def test_cancelling_while_nothing_comes_ends_the_stream_at_once() -> None:
    async def run() -> None:
        async with (
            ScriptedServer(lambda _: [30.0]).running() as server,
            worker_at(server.url, deadlines=Deadlines(first_token=30)) as worker,
        ):
            asking = asyncio.create_task(collect(worker, chat()))
            await asyncio.wait_for(server.asked.wait(), 5)
            asking.cancel()
            began = time.monotonic()
            await asyncio.wait_for(server.someone_left.wait(), 5)
            assert time.monotonic() - began < 0.2

    asyncio.run(run())


def test_connections_are_used_again() -> None:
    async def run() -> None:
        script = stream(delta("stop", content="a"), usage(1, 1))
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(server.url) as worker,
        ):
            for _ in range(5):
                await collect(worker, chat())
            assert server.connections == 1

    asyncio.run(run())


def test_a_server_that_closes_resting_connections_costs_no_request() -> None:
    async def run() -> None:
        script = stream(delta("stop", content="a"))
        async with ScriptedServer(lambda _: script).running() as server:
            gate = OpenGate()
            async with worker_at(server.url, gate=gate) as worker:
                for _ in range(3):
                    await collect(worker, chat())
                    # Ended by us without a word, as an impatient server does.
                    for task in asyncio.all_tasks():
                        if "accept" in repr(task.get_coro()):
                            task.cancel()
                assert worker.facts().errors == 0
                assert len(server.seen) == 3

    asyncio.run(run())


def test_requests_beyond_the_places_wait_a_moment_and_are_told() -> None:
    async def run() -> None:
        script = stream(delta(content="a"), 1.0, delta("stop"))
        async with (
            ScriptedServer(lambda _: script).running() as server,
            worker_at(
                server.url, max_requests=1, deadlines=Deadlines(connect=0.2, between_tokens=5)
            ) as worker,
        ):
            first = asyncio.create_task(collect(worker, chat()))
            await asyncio.sleep(0.05)
            with pytest.raises(ProviderBusy) as caught:
                await collect(worker, chat())
            assert caught.value.retry_safe
            await first
            assert worker.facts().state == "ok"

    asyncio.run(run())


def test_what_the_gate_does_not_let_out_is_not_sent() -> None:
    class Closed:
        async def let_out(self, departure: object) -> None:
            raise ProviderRejected("Rules forbid it.")

    async def run() -> None:
        async with (
            ScriptedServer(lambda _: whole({})).running() as server,
            worker_at(server.url, gate=Closed()) as worker,
        ):
            with pytest.raises(ProviderRejected):
                await collect(worker, chat())
            assert server.connections == 0

    asyncio.run(run())


def test_the_gate_sees_exactly_what_leaves() -> None:
    async def run() -> None:
        gate = OpenGate()
        async with (
            ScriptedServer(lambda _: stream(delta("stop", content="a"))).running() as server,
            worker_at(server.url + "/v1", gate=gate, region="eu") as worker,
        ):
            await collect(worker, chat(tenant="alice"))
            (departure,) = gate.departures
            assert departure.body == server.seen[0].raw
            assert (departure.provider, departure.region, departure.place) == (
                "there", "eu", "machine",
            )  # fmt: skip
            assert (departure.tenant, departure.request_id) == ("alice", "r1")
            assert departure.path == server.seen[0].path
            ((outcome, status, received, error),) = gate.ends
            assert (outcome, status, error) == ("completed", 200, "")
            assert received > 100

    asyncio.run(run())


def test_the_gate_hears_how_each_departure_ended() -> None:
    async def run() -> None:
        gate = OpenGate()
        answers = iter(
            [
                whole({"error": {"message": "no"}}, status=503),
                stream(delta(content="a"), {"error": {"message": "no"}}),
                stream(delta(content="a"), 30.0),
            ]
        )
        async with (
            ScriptedServer(lambda _: next(answers)).running() as server,
            worker_at(server.url, gate=gate) as worker,
        ):
            for _ in range(2):
                with pytest.raises(AssistantError):
                    await collect(worker, chat())
            pieces = worker.generate(chat())
            await anext(pieces)
            await pieces.aclose()
        async with worker_at("http://127.0.0.1:1", gate=gate) as worker:
            with pytest.raises(ProviderUnreachable):
                await collect(worker, chat())
        assert [(outcome, status, error) for outcome, status, _, error in gate.ends] == [
            ("failed", 503, "provider_overloaded"),
            ("failed", 200, "provider_failed"),
            ("cancelled", 200, ""),
            ("failed", 0, "provider_unreachable"),
        ]

    asyncio.run(run())
