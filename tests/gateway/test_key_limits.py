"""What a key may have: limits, models and an end, over HTTP, in each API's own words."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.fakes.fake_service import FakeService, say
from tests.fakes.running_gateway import HELLO, RunningGateway, RunningGateways, eventually

from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.keys import read_key
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.store.keys import Group, KeyBook, Limits, StoredKey, make_secret, rotated
from ai_assistant.store.keys_file import change_keys

MESSAGES = "/v1/messages"
ASK = {"model": "starter", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def gateway(gateways: RunningGateways, *lines: str) -> Generator[RunningGateway]:
    """A server of the test's own: what it counts begins at nothing."""
    with gateways.alone(api_keys=lines) as (running, _):
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", lambda body: body["error"]["code"]),
        ("/v1/responses", lambda body: body["error"]["code"]),
        ("/v1/embeddings", lambda body: body["error"]["code"]),
        (MESSAGES, lambda body: body["error"]["type"]),
        ("/api/chat", lambda body: "requests a minute" in body["error"]),
    ],
)
def test_over_the_limit_each_api_says_so_in_its_own_shape(
    gateways: RunningGateways, path: str, kind: Callable[[Any], object]
) -> None:
    with gateway(gateways, "k name=ann requests-per-minute=1") as running:
        body = {**ASK, "input": "hi", "stream": False}
        assert running.post(path, json=body, headers=bearer("k")).status_code == 200
        refused = running.post(path, json=body, headers=bearer("k"))
        assert refused.status_code == 429
        assert 50 <= int(refused.headers["retry-after"]) <= 60
        assert kind(refused.json()) in ("rate_limit_exceeded", "rate_limit_error", True)


def test_a_stream_over_the_limit_is_refused_before_it_begins(gateways: RunningGateways) -> None:
    with gateway(gateways, "k requests-per-minute=1") as running:
        ask = running.client("k").chat.completions.create
        for stream in (False, True):
            if stream:
                with pytest.raises(openai.RateLimitError) as refused:
                    ask(model="starter", messages=HELLO["messages"], stream=True)  # type: ignore[call-overload]
                assert refused.value.code == "rate_limit_exceeded"
            else:
                ask(model="starter", messages=HELLO["messages"])  # type: ignore[call-overload]


def test_tokens_beyond_the_limit_are_owed_by_the_next_request(gateways: RunningGateways) -> None:
    with gateway(gateways, "k tokens-per-minute=100") as running:
        running.service.script = say(*("w",) * 250, prompt=50)
        assert running.post(json=HELLO, headers=bearer("k")).status_code == 200
        refused = running.post(json=HELLO, headers=bearer("k"))
        assert refused.status_code == 429
        assert "tokens a minute" in refused.json()["error"]["message"]
        assert 110 <= int(refused.headers["retry-after"]) <= 121  # 201 of 100 a minute


def test_what_was_cached_is_not_counted(gateways: RunningGateways) -> None:
    with gateway(gateways, "k tokens-per-minute=100") as running:
        running.service.script = say("w", prompt=5000, cached=4990)
        for _ in range(3):
            assert running.post(json=HELLO, headers=bearer("k")).status_code == 200


def test_several_prompts_of_one_request_are_one_request(gateways: RunningGateways) -> None:
    with gateway(gateways, "k requests-per-minute=2 concurrency=1") as running:
        body = {"prompt": ["a", "b", "c"]}
        for status in (200, 200, 429):
            answer = running.post("/v1/completions", json=body, headers=bearer("k"))
            assert answer.status_code == status


def test_keys_of_one_name_share_and_others_do_not(gateways: RunningGateways) -> None:
    lines = ("a name=ann requests-per-minute=1", "b name=ann requests-per-minute=1", "c name=bob")
    with gateway(gateways, *lines) as running:
        statuses = [running.post(json=HELLO, headers=bearer(k)).status_code for k in "abc"]
        assert statuses == [200, 429, 200]


def test_looking_and_counting_tokens_costs_no_request(gateways: RunningGateways) -> None:
    with gateway(gateways, "k requests-per-minute=1") as running:
        for _ in range(3):
            assert running.get("/v1/models", headers=bearer("k")).status_code == 200
            count = running.post(f"{MESSAGES}/count_tokens", json=ASK, headers=bearer("k"))
            assert count.status_code == 200
        assert running.post(json=HELLO, headers=bearer("k")).status_code == 200


def test_requests_at_once_are_given_back_however_they_end(gateways: RunningGateways) -> None:
    with gateway(gateways, "k concurrency=2") as running:
        running.service.script = [TokenChunk(text="a"), 30.0]
        body = {**HELLO, "stream": True}
        for _ in range(3):
            arriving: list[Iterator[bytes]] = []
            with contextlib.ExitStack() as open_streams:
                for _ in range(2):
                    stream = httpx.stream(
                        "POST", running.url + "/v1/chat/completions", json=body, headers=bearer("k")
                    )
                    answer = open_streams.enter_context(stream)
                    assert answer.status_code == 200
                    arriving.append(answer.iter_bytes())  # Dropped, it would close the stream.
                    next(arriving[-1])
                refused = running.post(json=HELLO, headers=bearer("k"))
                assert refused.status_code == 429
                assert refused.headers["retry-after"] == "1"
                assert "2 requests under way" in refused.json()["error"]["message"]
            eventually(lambda: _running(running) == 0)
        running.service.script = None
        assert running.post(json=HELLO, headers=bearer("k")).status_code == 200


def test_an_error_gives_the_place_back_too(gateways: RunningGateways) -> None:
    with gateway(gateways, "k concurrency=1") as running:
        for script in ([RuntimeError("x")], [TokenChunk(text="a")], None):
            running.service.script = script
            assert running.post(json=HELLO, headers=bearer("k")).status_code in (200, 500, 502)
            eventually(lambda: _running(running) == 0)


def _running(running: RunningGateway) -> float:
    text = running.get("/metrics", headers=bearer("k")).text
    found = [one for one in text.splitlines() if one.startswith("ai_assistant_key_running{")]
    return sum(float(one.rpartition(" ")[2]) for one in found)


# Models.


def test_a_key_sees_and_uses_its_models_only(gateways: RunningGateways) -> None:
    with gateway(gateways, "k name=ann models=org/*", "all") as running:
        client = running.client("k")
        assert [model.id for model in client.models.list()] == ["org/big"]
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("starter")
        with pytest.raises(openai.PermissionDeniedError, match="may not use the model 'starter'"):
            client.chat.completions.create(model="starter", messages=HELLO["messages"])  # type: ignore[arg-type]
        tags = running.get("/api/tags", headers=bearer("k")).json()["models"]
        assert [one["name"] for one in tags] == ["org/big"]
        assert len(list(running.client("all").models.list())) == 2
        assert not running.service.asked


@pytest.mark.parametrize("body", [HELLO, {**HELLO, "model": "default"}])
def test_without_a_name_it_gets_the_first_that_it_may_use(
    gateways: RunningGateways, body: dict[str, Any]
) -> None:
    with gateway(gateways, "k models=org/*") as running:
        assert running.post(json=body, headers=bearer("k")).status_code == 200
        assert running.service.asked[-1].model == "org/big"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/completions", {"prompt": "a"}),
        (MESSAGES, ASK),
        (f"{MESSAGES}/count_tokens", ASK),
        ("/v1/responses", {"input": "a"}),
        ("/api/chat", ASK),
        ("/tokenize", {"content": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
def test_no_address_lets_a_key_past_its_models(
    gateways: RunningGateways, path: str, body: dict[str, Any]
) -> None:
    with gateway(gateways, "k models=org/*") as running:
        answer = running.post(path, json={**body, "model": "starter"}, headers=bearer("k"))
        assert answer.status_code == 403
        heard = running.service
        assert not [*heard.asked, *heard.embedded, *heard.tokenized]


# Who is let in.


def test_a_key_ends_when_its_line_says(gateways: RunningGateways) -> None:
    with gateway(gateways, "old expires=2020-01-01", "new expires=2999-01-01") as running:
        error = running.error(401, json=HELLO, headers=bearer("old"))
        assert "expired on 2020-01-02" in error["message"]
        assert running.post(json=HELLO, headers=bearer("new")).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["requests-per-minute=0", "tokens-per-minute=many", "concurrency=1.5", "dollars-per-day=-1",
     "models=a,,b", "labels=A!", "regions=e_u", "expires=soon", "user=", "concurrency=nan"],
)  # fmt: skip
def test_a_wrong_option_is_said_without_what_was_written(wrong: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_key(f"sesame {wrong}")
    option, *_ = wrong.split("=")
    assert option in refused.value.message
    assert "sesame" not in refused.value.message


def test_a_line_says_everything() -> None:
    caller = read_key(
        "k name=ann user=ann@home team=lab models=a|b labels=customer-data regions=eu,de "
        "requests-per-minute=60 tokens-per-minute=1e5 concurrency=4 dollars-per-day=2.5 "
        "dollars-per-month=20 expires=2030-01-01T00:00:00"
    )
    assert caller.limits == Limits(
        requests_per_minute=60, tokens_per_minute=100_000, concurrency=4, dollars_per_day=2.5,
        dollars_per_month=20,
    )  # fmt: skip
    assert (caller.user, caller.team, caller.models) == ("ann@home", "lab", ("a", "b"))
    assert (caller.bounds.labels, caller.bounds.regions) == (("customer-data",), ("eu", "de"))
    assert caller.expires == 1893456000


async def looked() -> None:
    """A node looks four times a second whether its keys have changed."""
    await asyncio.sleep(0.3)


class Office:
    """An application whose keys are in a file, and a client in the same loop."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.service = FakeService()

    def make(self, name: str, **fields: Any) -> str:
        text, secret = make_secret()
        key = StoredKey(name=name, secrets=(secret,), created=1.0, **fields)
        change_keys(self.path, lambda book: book.with_key(key))
        return text

    def change(self, name: str, **fields: Any) -> None:
        from msgspec import structs

        def changed(book: KeyBook) -> KeyBook:
            key = book.key(name)
            assert key
            return book.with_key(structs.replace(key, **fields))

        change_keys(self.path, changed)
        time.sleep(0.3)  # A node looks four times a second.

    def limit(self, kind: Any, name: str, **limits: Any) -> None:
        group = Group(kind=kind, name=name, limits=Limits(**limits))
        change_keys(self.path, lambda book: book.with_group(group))
        time.sleep(0.3)

    def run(self, ask: Callable[[Callable[..., Any]], Any]) -> None:
        async def inside() -> None:
            app = build_app(self.service, GatewaySettings(), access=Access((), keys=self.path))
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:

                async def post(key: str) -> httpx.Response:
                    return await http.post("/v1/chat/completions", json=HELLO, headers=bearer(key))

                await ask(post)

        asyncio.run(inside())


def test_keys_of_the_file_hold_at_once_and_end_at_once(tmp_path: Path) -> None:
    office = Office(tmp_path)

    async def ask(post: Callable[..., Any]) -> None:
        assert (await post("")).status_code == 200  # Nobody has made a key.
        ann = office.make("ann")
        await looked()
        assert (await post("")).status_code == 401
        assert (await post(ann)).status_code == 200
        office.change("ann", enabled=False)
        off = await post(ann)
        assert off.status_code == 401
        assert "switched off" in off.text
        office.change("ann", enabled=True, expires=5.0)
        assert "expired" in (await post(ann)).text
        change_keys(office.path, lambda book: book.without("ann"))
        await looked()
        assert (await post(ann)).status_code == 401
        assert (await post("")).status_code == 401, "the last key taken away opens nothing"

    office.run(ask)
    assert [request.tenant for request in office.service.asked] == ["", "ann"]


def test_a_new_secret_ends_the_old_one_now_or_later(tmp_path: Path) -> None:
    office = Office(tmp_path)

    async def ask(post: Callable[..., Any]) -> None:
        first = office.make("ann")
        secrets = [first]
        for until in (time.time() + 60, None):
            text, secret = make_secret()
            change_keys(
                office.path,
                lambda book, s=secret, u=until: book.with_key(
                    rotated(book.keys[0], s, old_until=u)
                ),
            )
            secrets.append(text)
            await looked()
            good = [(await post(one)).status_code == 200 for one in secrets]
            assert good == ([True, True] if until else [False, False, True])

    office.run(ask)


def test_users_and_teams_share_a_limit_over_their_keys(tmp_path: Path) -> None:
    office = Office(tmp_path)

    async def ask(post: Callable[..., Any]) -> None:
        one = office.make("one", user="ann", team="lab")
        two = office.make("two", user="ann")
        three = office.make("three", team="lab")
        office.limit("user", "ann", requests_per_minute=2)
        statuses = [(await post(key)).status_code for key in (one, two, one, three)]
        assert statuses == [200, 200, 429, 200]
        office.limit("team", "lab", requests_per_minute=1)
        assert (await post(one)).status_code == 429, "its user has had enough"
        assert (await post(three)).status_code == 200
        refused = await post(three)
        assert "The team lab may have 1 requests a minute" in refused.text

    office.run(ask)


def test_a_secret_is_in_no_file_no_log_and_no_figure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    office = Office(tmp_path)
    texts = [office.make(f"n{i}", limits=Limits(requests_per_minute=1)) for i in range(3)]
    seen: list[str] = []

    async def ask(post: Callable[..., Any]) -> None:
        for text in texts:
            seen.append((await post(text)).text + (await post(text)).text)
            seen.append((await post(text + "x")).text)

    with caplog.at_level("DEBUG"):
        office.run(ask)
    held = "".join(path.read_text() for path in tmp_path.iterdir())
    for text in texts:
        assert text not in held
        assert text not in caplog.text
        assert text not in "".join(seen)


def test_figures_tell_names_and_only_so_many(gateways: RunningGateways) -> None:
    lines = [f"k{i} name=n{i}" for i in range(250)]
    with gateway(gateways, *lines, "plainkey") as running:
        for key in [*(f"k{i}" for i in range(250)), "plainkey"]:
            assert running.post(json=HELLO, headers=bearer(key)).status_code == 200
        text = running.get("/metrics", headers=bearer("k0")).text
        rows = [one for one in text.splitlines() if one.startswith("ai_assistant_key_requests")]
        assert len(rows) <= 202
        assert 'ai_assistant_key_requests_total{kind="key",name="n7"} 1.0' in rows
        assert any('name="other"' in row and row.endswith(" 51.0") for row in rows)
        assert "plainkey" not in text
        assert 'ai_assistant_key_completion_tokens_total{kind="key",name="n7"} 2.0' in text
