"""What a request wishes and what its key may use hold for every way in, and for names of sets."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.scripted_server import ScriptedServer, Seen, Step, delta, stream, usage, whole

from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs import durable, shift
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.offers import Price
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.routing.routes import Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile

CHAT = "/v1/chat/completions"
ANSWER = stream(delta(content="Yes"), delta("stop", content="."), usage(10, 2))
TEXT = stream({"choices": [{"index": 0, "text": "Yes", "finish_reason": "stop"}]}, usage(10, 2))
VECTORS = whole({"data": [{"index": 0, "embedding": [0.6, 0.8]}], "usage": {"prompt_tokens": 3}})
KEYS = (
    "all",
    "cheap name=ann models=auto,either,cheap-*",
    "sets name=bob models=auto,either",
    "poor name=eve dollars-per-day=0.0001",
    "fair name=fay dollars-per-day=0.2",
)


class Line:
    """The network to the providers."""

    up = True

    def answers(self, seen: Seen) -> list[Step]:
        if not self.up:
            raise ConnectionResetError
        if seen.path.endswith("embeddings"):
            return VECTORS
        return ANSWER if seen.path.endswith("/chat/completions") else TEXT


def provider(url: str, name: str, region: str, dollars: float) -> Provider:
    model = ProviderModel(
        id=f"{name}-there", names=(name, "both"), price=Price(input=dollars, output=dollars)
    )
    return Provider(base_url=url + "/v1", models=(model,), region=region)


class Node:
    """The gateway over a router with two providers, and a client for each key."""

    def __init__(
        self, client: httpx.AsyncClient, line: Line, dear: ScriptedServer, cheap: ScriptedServer
    ) -> None:
        self._client = client
        self.line, self.dear, self.cheap = line, dear, cheap

    async def post(
        self, path: str, body: dict[str, Any], key: str = "all", **headers: str
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", **headers}
        return await self._client.post(path, json=body, headers=headers)

    async def get(self, path: str) -> Any:
        return (await self._client.get(path, headers={"authorization": "Bearer all"})).json()

    @property
    def asked(self) -> tuple[int, int]:
        """How often the dear one and the cheap one were."""
        return len(self.dear.seen), len(self.cheap.seen)


@contextlib.asynccontextmanager
async def node(folder: Path) -> AsyncGenerator[Node]:
    settings = GatewaySettings(api_keys=KEYS)
    access = Access(KEYS)
    log = EgressLog(folder / "egress")
    gate = Gate(RulesFile(folder / "policy.toml"), log)
    line = Line()
    async with contextlib.AsyncExitStack() as stack:
        dear, cheap = ScriptedServer(line.answers), ScriptedServer(line.answers)
        for server in (dear, cheap):
            await stack.enter_async_context(server.running())
        providers = {
            "one": provider(dear.url, "dear", "us", 100.0),
            "two": provider(cheap.url, "cheap-1", "eu", 0.01),
        }
        fleet = Fleet(
            providers, environ={}, folder=folder, gate=gate,
            records=RecordsFile(folder / "seen.json"),
        )  # fmt: skip
        here = Scheduler((), _none, SchedulerSettings(), version="0", load_wait_seconds=1)
        routes = {"either": Route(models=("dear", "cheap-1"), fallback=("dear",))}
        router = Router(
            here, fleet.workers, gate, RoutingSettings(routes=routes), purse=access.purse
        )
        desk = Desk(router, settings, access=access)
        jobs = Jobs(folder / "jobs", JobsSettings(), desk, rules=router.outlook)
        app = build_app(router, settings, jobs=jobs, access=access)
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost")
        )
        try:
            yield Node(client, line, dear, cheap)
        finally:
            await jobs.stop()
            await fleet.close(drain=False)
            log.close()


def _none(model: object) -> Any:
    raise AssertionError(model)


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Is it?"}], **fields}


EVERY_WAY = [
    (CHAT, chat("NAME")),
    (CHAT, chat("NAME", stream=True)),
    ("/v1/completions", {"model": "NAME", "prompt": "Once"}),
    ("/v1/messages", chat("NAME", max_tokens=8)),
    ("/v1/responses", {"model": "NAME", "input": "Hello"}),
    ("/api/chat", chat("NAME", stream=False)),
    ("/v1/embeddings", {"model": "NAME", "input": "Hello"}),
    ("/api/embed", {"model": "NAME", "input": "Hello"}),
]


@pytest.mark.parametrize("name", ["auto", "either"])
@pytest.mark.parametrize(("path", "body"), EVERY_WAY)
def test_a_key_is_answered_by_its_models_only_whatever_name_it_asks(
    tmp_path: Path, path: str, body: dict[str, Any], name: str
) -> None:
    async def run() -> None:
        async with node(tmp_path) as here:
            body["model"] = name
            await here.post(path, body, "cheap")
            assert here.asked == (0, 1)
            refused = await here.post(path, body, "sets")
            assert refused.status_code == 403
            assert "may use none of the models" in refused.text
            assert here.asked == (0, 1)

    asyncio.run(run())


def test_what_it_may_not_use_is_not_shown_to_it_either(tmp_path: Path) -> None:
    async def run() -> None:
        async with node(tmp_path) as here:
            shown = (await here.post(f"{CHAT}?explain", chat("auto"), "cheap")).json()
            assert [one["worker"] for one in shown["candidates"]] == ["two/cheap-1-there"]
            assert here.asked == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize("wish", ["region=eu", "max_price_per_million=1", "objective=cost"])
@pytest.mark.parametrize("name", ["auto", "either"])
@pytest.mark.parametrize(("path", "body"), EVERY_WAY)
def test_wishes_in_a_header_hold_for_every_way_in(
    tmp_path: Path, path: str, body: dict[str, Any], name: str, wish: str
) -> None:
    async def run() -> None:
        async with node(tmp_path) as here:
            body["model"] = name
            await here.post(path, body, **{"X-Routing": wish})
            assert here.asked == (0, 1)
            nobody = await here.post(path, body, **{"X-Routing": "region=cn"})
            assert nobody.status_code == 400
            assert "within the limits" in nobody.text
            assert here.asked == (0, 1)

    asyncio.run(run())


@pytest.mark.parametrize(("key", "wish", "status"), [("all", "region=cn", 400), ("sets", "", 403)])
def test_documents_are_ranked_within_the_same_bounds(
    tmp_path: Path, key: str, wish: str, status: int
) -> None:
    async def run() -> None:
        async with node(tmp_path) as here:
            body = {"model": "either", "query": "a", "documents": ["b"]}
            refused = await here.post("/v1/rerank", body, key, **{"X-Routing": wish})
            assert refused.status_code == status
            assert here.asked == (0, 0)

    asyncio.run(run())


def test_a_budget_keeps_dear_ones_out_and_says_until_when_where_nobody_is_left(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with node(tmp_path) as here:
            for path, body in ((CHAT, chat("either", max_tokens=10)), EVERY_WAY[6]):
                body["model"] = "either"
                assert (await here.post(path, body, "poor")).status_code == 200
            assert here.asked == (0, 2)
            for path, body in ((CHAT, chat("dear", max_tokens=10)), EVERY_WAY[6]):
                body["model"] = "dear"
                body |= {"input": "word " * 200} if "input" in body else {}
                refused = await here.post(path, body, "poor")
                assert refused.status_code == 429
                assert "may spend" in refused.text
                assert "retry-after" in refused.headers
            assert here.asked == (0, 2)

    asyncio.run(run())


def test_what_names_no_limit_is_answered_as_far_as_the_money_goes(tmp_path: Path) -> None:
    async def run() -> None:
        async with node(tmp_path) as here:
            limited = {"X-Routing": "max_price=0.05"}
            assert (await here.post(CHAT, chat("dear"), "fair", **limited)).status_code == 200
            assert (await here.post(CHAT, chat("dear"), "fair")).status_code == 200
            first, second = (one.body["max_tokens"] for one in here.dear.seen)
            assert 256 <= first <= 500
            assert 1000 < second < 2000
            refused = await here.post(CHAT, chat("dear", max_tokens=2000), "fair")
            assert refused.status_code == 429

    asyncio.run(run())


def test_what_may_wait_keeps_its_wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(shift, "_NETWORK_SECONDS", 0.2)

    async def run() -> None:
        async with node(tmp_path) as here:
            here.line.up = False
            stored = await here.post(
                CHAT, chat("either"), **{"X-May-Wait": "2h", "X-Routing": "region=eu"}
            )
            assert stored.status_code == 202, stored.text
            assert here.asked[0] == 0
            here.line.up = True
            batch = stored.json()
            for _ in range(500):
                if batch["ai_assistant"]["state"] == "ended":
                    break
                await asyncio.sleep(0.02)
                batch = await here.get(f"/v1/batches/{batch['id']}")
            assert batch["request_counts"]["completed"] == 1
            assert here.asked[0] == 0

    asyncio.run(run())
