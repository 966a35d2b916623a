"""The console's addresses: pages with their headers, and the conversation API."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from tests.fakes.fake_service import FakeService

from ai_assistant.console.pages import STATIC, read_assets
from ai_assistant.console.routes import console_routes
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.store.conversations import Conversations

BASE = "/console/conversations"
HELLO = {"id": "m1", "role": "user", "content": "hello"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Conversations]:
    store = Conversations(tmp_path)
    yield store
    store.close()


@pytest.fixture
def client(store: Conversations) -> TestClient:
    app = build_app(FakeService(), GatewaySettings(), mounts=console_routes(store))
    return browser(app)


def browser(app: ASGIApp) -> TestClient:
    return TestClient(app, base_url="http://localhost")


def create(client: TestClient, **fields: object) -> str:
    answer = client.post(BASE, json={"title": "Boats", **fields})
    assert answer.status_code == 201
    return answer.json()["id"]


def test_the_page_forbids_inline_scripts_frames_and_other_hosts(client: TestClient):
    policy = client.get("/").headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "path", ["/", "/console/static/js/main.js", "/console/static/css/base.css"]
)
def test_a_known_file_is_not_sent_again(client: TestClient, path: str):
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["nothing.js", "../routes.py", "..%2froutes.py", "%2e%2e/pages.py", "vendor/VENDORED.md"],
)
def test_nothing_but_the_pages_is_served(client: TestClient, path: str):
    assert client.get(f"/console/static/{path}").status_code == 404


def test_pages_ask_nothing_of_other_hosts_and_have_no_inline_code():
    for path in STATIC.rglob("*"):
        if path.suffix in (".html", ".js", ".css") and "vendor" not in path.parts:
            text = path.read_text("utf-8")
            hosts = re.sub(r"http://www\.w3\.org/2000/svg|http://192\.168\.…", "", text)
            assert not re.search(r"https?://", hosts), path
            assert not re.search(r"\binnerHTML\b|\beval\(|style=\"|\son\w+=\"", text), path


def test_every_word_exists_in_both_languages():
    english, chinese = (STATIC / "js/i18n.js").read_text("utf-8").split("const CHINESE")
    keys = [set(re.findall(r"(\w+): \"", text)) for text in (english, chinese)]
    assert keys[0] == keys[1]
    used = "".join(
        path.read_text("utf-8") for path in (STATIC / "js").glob("*.js") if path.stem != "i18n"
    )
    assert {key for key in keys[0] if f'"{key}"' not in used} <= {"ready", "unloaded", "failed"}


def test_vendored_files_are_those_of_the_list():
    vendor = STATIC / "vendor"
    listed = re.findall(r"`(\S+/\S+?)` \|.*`([0-9a-f]{64})`", (vendor / "VENDORED.md").read_text())
    assert len(listed) == 3
    for name, digest in listed:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
        assert (vendor / name).with_name("LICENSE").exists()
    scripts = {path.relative_to(vendor).as_posix() for path in vendor.rglob("*.*js")}
    assert scripts == {name for name, _ in listed}


def test_only_files_of_known_types_are_read(tmp_path: Path):
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "notes.md").write_text("no")
    assert set(read_assets(tmp_path)) == {"a.js"}


def test_a_conversation_goes_through_its_life(client: TestClient):
    id = create(client, settings={"temperature": 0.2})
    assert client.post(f"{BASE}/{id}/messages", json=HELLO).status_code == 201
    answer = {"role": "assistant", "content": "hi", "model": "starter", "state": "partial"}
    client.put(f"{BASE}/{id}/messages/m2", json=answer)
    client.put(f"{BASE}/{id}/messages/m2", json={**answer, "content": "hi!", "state": "done"})
    assert client.patch(f"{BASE}/{id}", json={"title": "Ships"}).status_code == 204
    found = client.get(f"{BASE}/{id}").json()
    assert (found["title"], found["settings"]) == ("Ships", {"temperature": 0.2})
    assert [(m["id"], m["content"], m["state"]) for m in found["messages"]] == [
        ("m1", "hello", "done"),
        ("m2", "hi!", "done"),
    ]
    assert client.delete(f"{BASE}/{id}").status_code == 204
    assert client.get(f"{BASE}/{id}").status_code == 404
    assert client.put(f"{BASE}/{id}", json=found).json() == found


def test_the_list_is_searched(client: TestClient):
    create(client, title="Boats")
    create(client, title="猫")
    assert [c["title"] for c in client.get(BASE, params={"q": "猫"}).json()["conversations"]] == [
        "猫"
    ]
    assert client.get(BASE).headers["cache-control"] == "no-store"


def test_an_edit_and_a_new_answer_replace_what_followed(client: TestClient):
    id = create(client)
    client.post(f"{BASE}/{id}/messages", json=HELLO)
    client.post(f"{BASE}/{id}/messages", json={"role": "assistant", "content": "old"})
    client.put(f"{BASE}/{id}/messages/last", json={"role": "assistant", "content": "new"})
    assert client.get(f"{BASE}/{id}").json()["messages"][-1]["content"] == "new"
    client.put(f"{BASE}/{id}/messages/m3?replaces=m1", json={**HELLO, "content": "edited"})
    assert [m["content"] for m in client.get(f"{BASE}/{id}").json()["messages"]] == ["edited"]


def test_export_lines_can_be_put_back(client: TestClient):
    id = create(client)
    client.post(f"{BASE}/{id}/messages", json=HELLO)
    answer = client.get(f"{BASE}/export")
    assert "attachment" in answer.headers["content-disposition"]
    (line,) = answer.content.splitlines()
    assert client.put(f"{BASE}/{id}", content=line).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"role":"wizard"}', b'{"role":"user","content":1}', b"\xff"]
)
def test_a_bad_message_is_refused(client: TestClient, body: bytes):
    id = create(client)
    answer = client.post(f"{BASE}/{id}/messages", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


def test_a_body_over_the_limit_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ai_assistant.console.conversation_api.MAX_BODY", 100)
    assert client.post(BASE, json={"title": "x" * 200}).status_code == 413


def test_a_disk_that_refuses_is_a_503_with_words(tmp_path: Path):
    (tmp_path / "data").write_text("in the way")
    routes = console_routes(Conversations(tmp_path / "data"))
    app = build_app(FakeService(), GatewaySettings(), mounts=routes)
    client = browser(app)
    answer = client.get(BASE)
    assert client.get("/").status_code == 200
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "conversations_unavailable"


def test_a_strange_page_may_not_read_conversations(client: TestClient):
    answer = client.get(BASE, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", [BASE, f"{BASE}/x", f"{BASE}/export"])
def test_conversations_are_behind_the_key_and_pages_are_not(store: Conversations, path: str):
    settings = GatewaySettings(api_keys=("secret",))
    app = build_app(FakeService(), settings, mounts=console_routes(store))
    client = browser(app)
    assert client.get("/").status_code == 200
    assert client.get("/console/static/js/main.js").status_code == 200
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"authorization": "Bearer secret"}).status_code != 401


def test_names_of_keys_keep_conversations_apart_and_nameless_keys_share(store: Conversations):
    keys = ("a name=alice", "b name=bob", "c", "d")
    app = build_app(FakeService(), GatewaySettings(api_keys=keys), mounts=console_routes(store))
    client = browser(app)

    def seen(key: str) -> int:
        return len(client.get(BASE, headers={"x-api-key": key}).json()["conversations"])

    client.post(BASE, json={"title": "hers"}, headers={"x-api-key": "a"})
    assert [seen(key) for key in "abcd"] == [1, 0, 0, 0]
    client.post(BASE, json={"title": "ours"}, headers={"x-api-key": "c"})
    assert [seen(key) for key in "abcd"] == [1, 0, 1, 1]
