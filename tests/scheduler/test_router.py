"""The router over real HTTP: limits, deadlines, learning, and what the client is told."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.scripted_server import ScriptedServer, Seen, Step, delta, stream, usage

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.errors import KeptHere
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import AssistantError, ModelNotFound, ProviderError
from ai_assistant.protocol.offers import Price
from ai_assistant.protocol.requests import ChatMessage, ChatPrompt, GenerateRequest
from ai_assistant.protocol.routing import Decision, Served, Wishes
from ai_assistant.scheduler.choosing import LimitsTooTight
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.routing.routes import Member, Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.deadlines import Deadlines

ANSWER = stream(delta(content="Yes"), delta(content=".", finish="stop"), usage(1000, 100))
CHEAP, DEAR = Price(input=1.0, output=2.0), Price(input=10.0, output=30.0)


def provider(url: str, name: str = "m", price: Price | None = CHEAP, **fields: Any) -> Provider:
    model = ProviderModel(id=f"{name}-there", names=(name,), price=price)
    return Provider(base_url=url + "/v1", models=(model,), **fields)


@contextlib.asynccontextmanager
async def router_over(
    folder: Path, providers: dict[str, Provider], online: bool = True, **settings: Any
) -> AsyncIterator[Router]:
    """A node without models of its own."""
    log = EgressLog(folder / "egress")
    gate = Gate(RulesFile(folder / "policy.toml"), log)
    records = RecordsFile(folder / "seen.json")
    fleet = Fleet(providers, environ={}, folder=folder, gate=gate, records=records)
    assert not fleet.problems
    here = Scheduler((), _none, SchedulerSettings(), version="0", load_wait_seconds=1)
    chosen = RoutingSettings(**settings)
    try:
        yield Router(here, fleet.workers, gate, chosen, online=lambda: online)
    finally:
        await fleet.close(drain=False)
        log.close()


def _none(model: object) -> Any:
    raise AssertionError(model)


def question(model: str = "m", **wishes: Any) -> GenerateRequest:
    prompt = ChatPrompt(messages=(ChatMessage(role="user", content="Is it?"),))
    asked = Wishes(**wishes) if wishes else None
    return GenerateRequest(request_id="r", model=model, prompt=prompt, wishes=asked)


class Told:
    """What came back."""

    def __init__(self, chunks: list[TokenChunk]) -> None:
        self.text = "".join(chunk.text for chunk in chunks)
        found = [chunk.served for chunk in chunks if chunk.served]
        self.first: Served = found[0]
        self.last: Served = found[-1]

    @property
    def decision(self) -> Decision:
        assert self.last.decision
        return self.last.decision


async def ask(router: Router, request: GenerateRequest) -> Told:
    return Told([chunk async for chunk in router.generate(request)])


@contextlib.asynccontextmanager
async def servers(*scripts: list[Step]) -> AsyncIterator[list[ScriptedServer]]:
    async with contextlib.AsyncExitStack() as stack:
        running: list[ScriptedServer] = []
        for script in scripts:
            server = ScriptedServer(lambda _, script=script: script)
            running.append(await stack.enter_async_context(server.running()))
        yield running


def test_the_answer_tells_who_and_for_how_much(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            servers(ANSWER) as (one,),
            router_over(tmp_path, {"near": provider(one.url)}) as router,
        ):
            told = await ask(router, question())
        assert told.text == "Yes."
        assert told.last.worker == "near/m-there"
        assert told.last.cost == pytest.approx((1000 * 1 + 100 * 2) / 1e6)
        assert told.first.cost is not None
        assert not told.last.fallback

    asyncio.run(run())


@pytest.mark.parametrize(
    ("dollars", "chosen", "most"),
    [(0.03, "claude", 30_000 - 8192), (0.01, "claude", 10_000 - 8192), (0.008, "plain", 8_000)],
)
def test_a_limit_on_money_pays_for_thinking_too(
    tmp_path: Path, dollars: float, chosen: str, most: int
) -> None:
    """A dollar for a million tokens that are written, nothing for those that are read."""
    price = Price(input=0.0, output=1.0)
    said = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
    answer = stream(
        {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
        said | {"usage": {"output_tokens": 5}},
        {"type": "message_stop"},
        done=False,
    )

    async def run() -> None:
        async with servers(answer, ANSWER) as running:
            providers = {
                "claude": provider(running[0].url, price=price, kind="anthropic"),
                "plain": provider(running[1].url, price=price),
            }
            async with router_over(tmp_path, providers) as router:
                plain = question(max_price=dollars)
                assert isinstance(plain.prompt, ChatPrompt)
                prompt = structs.replace(
                    plain.prompt, template_variables={"reasoning_effort": "medium"}
                )
                told = await ask(router, structs.replace(plain, prompt=prompt))
            assert told.last.worker.partition("/")[0] == chosen
            (seen,) = running[chosen == "plain"].seen
            body = seen.body
            thinking = body.get("thinking", {}).get("budget_tokens", 0)
            assert body["max_tokens"] - thinking == most
            assert (body["max_tokens"]) * price.output / 1e6 <= dollars

    asyncio.run(run())


def test_objectives_and_limits_choose_among_providers(tmp_path: Path) -> None:
    async def run() -> None:
        async with servers(ANSWER, ANSWER) as (one, two):
            providers = {
                "dear": provider(one.url, price=DEAR, region="us"),
                "cheap": provider(two.url, region="eu"),
            }
            async with router_over(tmp_path, providers) as router:
                said = {
                    "order": await ask(router, question()),
                    "cost": await ask(router, question(objective="cost")),
                    "quality": await ask(router, question(objective="quality")),
                    "limit": await ask(router, question(max_price_per_million=5.0)),
                    "region": await ask(router, question(regions=("us",))),
                }
                with pytest.raises(LimitsTooTight, match="more than"):
                    await ask(router, question(max_price_per_million=1.0))
                with pytest.raises(ModelNotFound):
                    await ask(router, question("nobody"))
        chosen = {name: told.last.worker.partition("/")[0] for name, told in said.items()}
        assert chosen == {
            "order": "dear", "cost": "cheap", "quality": "dear", "limit": "cheap", "region": "dear",
        }  # fmt: skip

    asyncio.run(run())


def test_a_limit_on_money_is_kept_by_the_length_of_the_answer(tmp_path: Path) -> None:
    async def run() -> list[int]:
        async with (
            servers(ANSWER) as (one,),
            router_over(tmp_path, {"near": provider(one.url)}) as router,
        ):
            await ask(router, question(max_price=0.001))
            twice = structs.replace(question(max_price=0.002), n=2)
            with contextlib.suppress(AssistantError):  # its script answers once
                await ask(router, twice)
            return [seen.body["max_tokens"] for seen in one.seen]

    # Two dollars a million: 500 tokens at most, less what the question may cost.
    first, second = asyncio.run(run())
    assert 400 < first < 500
    assert 400 < second < 500


def test_explaining_asks_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with servers(ANSWER, ANSWER) as (one, two):
            providers = {"a": provider(one.url, price=DEAR), "b": provider(two.url, price=None)}
            async with router_over(tmp_path, providers) as router:
                told = await ask(router, question(objective="cost", explain="only"))
                assert (one.seen, two.seen) == ([], [])
                shown = {c.worker: c for c in told.decision.candidates}
                assert shown["a/m-there"].turn == 1
                assert shown["b/m-there"].cost is None
                beside = await ask(router, question(explain="run"))
                assert beside.text == "Yes."
                assert beside.decision.candidates[0].terms

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["silent", "pings", "refuse"])
def test_the_next_one_is_asked_within_50_ms_of_the_deadline(tmp_path: Path, kind: Any) -> None:
    """The median of several tries: this machine may be busy with other things."""
    deadline, late = 0.25, []

    async def run(folder: Path) -> float:
        asked: list[float] = []

        def note(seen: Seen) -> list[Step]:
            asked.append(time.monotonic())
            return ANSWER

        async with (
            servers(ANSWER) as (one,),
            ScriptedServer(note).running() as two,
            FaultProxy(one.url, then=Fault(kind)).running() as proxy,
        ):
            slow = provider(proxy.url, deadlines=Deadlines(first_token=deadline))
            providers = {"slow": slow, "next": provider(two.url)}
            async with router_over(folder, providers) as router:
                began = time.monotonic()
                told = await ask(router, question())
        assert told.last.worker == "next/m-there"
        assert told.last.fallback
        assert told.last.why
        return asked[0] - began - (0.0 if kind == "refuse" else deadline)

    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        late.append(asyncio.run(run(folder)))
    assert sorted(late)[2] <= 0.05


def test_a_limit_on_the_first_token_is_a_deadline_while_others_are_left(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            servers(ANSWER, ANSWER) as (one, two),
            FaultProxy(one.url, then=Fault("late", seconds=0.6)).running() as proxy,
        ):
            providers = {"late": provider(proxy.url), "soon": provider(two.url)}
            async with router_over(tmp_path, providers) as router:
                began = time.monotonic()
                told = await ask(router, question(max_ttft=0.2))
                assert time.monotonic() - began < 0.5
                assert told.last.worker == "soon/m-there"
                assert "no first token" in told.last.why
                # It is remembered how long it was waited for.
                decision = (await ask(router, question(max_ttft=0.2, explain="only"))).decision
                shown = {c.worker: c.refused for c in decision.candidates}
                assert "first token may take" in shown["late/m-there"]
                assert not shown["soon/m-there"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("place", "online", "worker"),
    [
        ("cloud", True, "far/m-there"),
        ("cloud", False, "spare/other-there"),
        ("lan", False, "far/m-there"),
    ],
)
def test_without_a_network_the_declared_fallback_answers_before_clouds(
    tmp_path: Path, place: Any, online: bool, worker: str
) -> None:
    async def run() -> Told:
        async with servers(ANSWER, ANSWER) as (one, two):
            providers = {
                "far": provider(one.url, place=place),
                "spare": provider(two.url, "other"),
            }
            routes = {"big": Route(models=("m",), fallback=("other",))}
            (tmp_path / "policy.toml").write_text('[unlabelled]\nallow = ["*"]\n')
            async with router_over(tmp_path, providers, online, routes=routes) as router:
                return await ask(router, question("big"))

    told = asyncio.run(run())
    assert told.last.worker == worker
    assert told.last.fallback == (worker != "far/m-there")


def test_a_declared_fallback_answers_when_nobody_can(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            servers(ANSWER, ANSWER) as (one, two),
            FaultProxy(one.url, then=Fault("status", status=503)).running() as proxy,
        ):
            providers = {"m": provider(proxy.url), "spare": provider(two.url, "other")}
            routes = {"big": Route(models=("m",), fallback=("other",))}
            async with router_over(tmp_path, providers, routes=routes) as router:
                first = await ask(router, question("big"))
                assert first.last.worker == "spare/other-there"
                assert first.last.fallback
                again = await ask(router, question("big", explain="run"))
                assert again.last.fallback
                refused = [c.refused for c in again.decision.candidates if c.turn is None]
                assert "rests for" in refused[0]
                with pytest.raises(ProviderError, match="Nobody can be asked for m now") as caught:
                    await ask(router, question("m"))
                assert caught.value.retry_after

    asyncio.run(run())


def test_what_the_rules_keep_is_not_chosen_and_the_explanation_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with servers(ANSWER, ANSWER) as (one, two):
            providers = {"lan": provider(one.url, place="lan"), "here": provider(two.url)}
            async with router_over(tmp_path, providers) as router:
                told = await ask(router, question(explain="run"))
                assert told.last.worker == "here/m-there"
                assert "the rules keep it from lan/m-there" in told.last.reason
                shown = {c.worker: c for c in told.decision.candidates}
                assert "no rule file lets anything leave" in shown["lan/m-there"].refused
                assert one.seen == []
                with pytest.raises(KeptHere):
                    await ask(router, question("lan/m-there"))

    asyncio.run(run())


def test_conversations_of_a_weighted_set_stay_where_they_began(tmp_path: Path) -> None:
    long = "The boat went out before dawn and came back with nothing but rain. " * 5

    def request(number: int, turns: int) -> GenerateRequest:
        texts = [f"{number}: {long}", "Yes.", "And then?", "Yes.", "Go on."][: 2 * turns - 1]
        roles = ("user", "assistant")
        messages = tuple(
            ChatMessage(role=roles[at % 2], content=text) for at, text in enumerate(texts)
        )
        prompt = ChatPrompt(messages=messages)
        return GenerateRequest(request_id=f"r{number}{turns}", model="both", prompt=prompt)

    async def run() -> list[list[str]]:
        async with servers(ANSWER, ANSWER) as (one, two):
            providers = {"a": provider(one.url, "x"), "b": provider(two.url, "y")}
            models = (Member("x", 1.0), Member("y", 1.0))
            routes = {"both": Route(models=models)}
            async with router_over(tmp_path, providers, routes=routes) as router:
                return [
                    [(await ask(router, request(n, turns))).last.worker for turns in (1, 2, 3)]
                    for n in range(20)
                ]

    talks = asyncio.run(run())
    assert all(len(set(talk)) == 1 for talk in talks)
    assert {talk[0] for talk in talks} == {"a/x-there", "b/y-there"}


def test_a_broken_answer_names_both_who_gave_it(tmp_path: Path) -> None:
    story = stream(*(delta(content=f"w{n} ") for n in range(6)), delta(finish="stop"), usage(9, 6))

    async def run() -> Told:
        async with (
            servers(story, ANSWER) as (one, two),
            FaultProxy(one.url, Fault("reset", after=3)).running() as proxy,
        ):
            goes_on = ProviderModel(id="m2", names=("m",), price=CHEAP, continues="prefill")
            after = Provider(base_url=two.url + "/v1", models=(goes_on,))
            providers = {"one": provider(proxy.url), "two": after}
            async with router_over(tmp_path, providers) as router:
                return await ask(router, question())

    told = asyncio.run(run())
    assert told.text.startswith("w0 w1 w2 ")
    assert told.first.worker == "one/m-there"
    assert told.last.worker == "two/m2"
    assert told.last.before == ("one/m-there",)
    assert told.last.fallback
    assert told.last.cost is not None
    assert told.last.cost > (1000 + 200) / 1e6


def test_auto_is_whoever_is_able_and_sets_are_listed(tmp_path: Path) -> None:
    async def run() -> None:
        async with servers(ANSWER, ANSWER) as (one, two):
            providers = {"a": provider(one.url, "x", price=DEAR), "b": provider(two.url, "y")}
            routes = {"mine": Route(models=("x", "nobody"))}
            async with router_over(tmp_path, providers, routes=routes) as router:
                assert {one.model.id for one in router.status().models} == {
                    "x", "y", "mine", "auto",
                }  # fmt: skip
                assert router.unknown_names() == {"mine": ["nobody"]}
                told = await ask(router, question("auto", objective="cost"))
                assert told.last.worker == "b/y-there"
                only = await ask(router, question("auto", models=("a/*",)))
                assert only.last.worker == "a/x-there"

    asyncio.run(run())


def test_errors_of_the_request_are_not_asked_elsewhere(tmp_path: Path) -> None:
    async def run() -> AssistantError:
        async with (
            servers(ANSWER, ANSWER) as (one, two),
            FaultProxy(one.url, then=Fault("status", status=422)).running() as proxy,
        ):
            providers = {"a": provider(proxy.url), "b": provider(two.url)}
            async with router_over(tmp_path, providers) as router:
                with pytest.raises(AssistantError) as caught:
                    await ask(router, question())
                assert two.seen == []
                return caught.value

    assert not asyncio.run(run()).elsewhere
