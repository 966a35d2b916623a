import pytest
from tests.fakes.fake_service import FakeService
from tests.fakes.running_gateway import HELLO, RunningGateway, RunningGateways

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.guards import is_loopback
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.errors import EngineDied, InvalidRequest

PAGE = "http://app.example:3000"


@pytest.fixture
def locked(gateways: RunningGateways) -> RunningGateway:
    return gateways.with_settings(api_keys=("sesame", "schlüssel"))


@pytest.fixture
def shared(gateways: RunningGateways) -> RunningGateway:
    return gateways.with_settings(allowed_origins=(PAGE,))


def test_any_key_is_accepted_when_none_is_set(gateway: RunningGateway) -> None:
    for headers in ({}, {"authorization": "Bearer EMPTY"}, {"x-api-key": "no-key"}):
        assert gateway.post(json=HELLO, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sesame"},
        {"authorization": "bearer  sesame"},
        {"x-api-key": "sesame"},
        {b"x-api-key": "schlüssel".encode()},
    ],
)
def test_a_right_key_opens(locked: RunningGateway, headers: dict[str, str]) -> None:
    assert locked.post(json=HELLO, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic sesame"},
        {"authorization": "Bearer sesame2"},
        {"x-api-key": ""},
        {b"x-api-key": b"\xff\xfe"},
    ],
)
def test_a_wrong_key_does_not(locked: RunningGateway, headers: dict[str, str]) -> None:
    error = locked.error(401, json=HELLO, headers=headers)
    assert error["code"] == "invalid_api_key"
    assert "sesame" not in error["message"]
    assert not locked.service.asked


def test_the_official_client_sends_its_key(locked: RunningGateway) -> None:
    with locked.client("sesame") as client:
        assert client.models.list().data


def test_no_key_and_no_prompt_is_logged(
    locked: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="ai_assistant")
    caplog.set_level("DEBUG", logger="uvicorn")
    body = {"messages": [{"role": "user", "content": "my diary"}]}
    for script in ([RuntimeError("fault")], [EngineDied("m")], None):
        locked.service.script = script
        locked.post(json=body, headers={"x-api-key": "sesame"})
        locked.post(json={**body, "seed": "my diary"}, headers={"x-api-key": "sesame"})
    locked.post(json=body, headers={"authorization": "Bearer sesame street"})
    assert "fault" in caplog.text
    assert "sesame" not in caplog.text
    assert "diary" not in caplog.text


@pytest.mark.parametrize(
    ("path", "status"),
    [("/livez", 200), ("/readyz", 200), ("/health", 200), ("/status", 401), ("/v1/models", 401)],
)
def test_health_needs_no_key(locked: RunningGateway, path: str, status: int) -> None:
    assert locked.get(path).status_code == status


@pytest.mark.parametrize(
    ("path", "status"),
    [("/console/", 404), ("/console/static/a.js", 404), ("/consoles", 401), ("/console/x", 401)],
)
def test_the_consoles_pages_need_no_key(locked: RunningGateway, path: str, status: int) -> None:
    assert locked.get(path).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:7717", 200),
        ("127.0.0.1:80", 200),
        ("127.9.9.9", 200),
        ("[::1]:7717", 200),
        ("mine.localhost", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.5", 403),
        ("[fe80::1]:80", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_without_a_key_only_loopback_names_are_served(
    gateway: RunningGateway, host: str, status: int
) -> None:
    assert gateway.get("/livez", headers={"host": host}).status_code == status


def test_with_a_key_any_name_is_served(locked: RunningGateway) -> None:
    headers = {"host": "box.lan", "x-api-key": "sesame"}
    assert locked.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "", PAGE])
def test_pages_of_other_origins_are_refused(gateway: RunningGateway, origin: str) -> None:
    error = gateway.error(403, json=HELLO, headers={"origin": origin})
    assert error["code"] == "origin_not_allowed"
    assert not gateway.service.asked


def test_our_own_pages_may_call(gateway: RunningGateway) -> None:
    assert gateway.post(json=HELLO, headers={"origin": gateway.url}).status_code == 200


def test_an_allowed_page_may_call_and_read(shared: RunningGateway) -> None:
    answer = shared.post(json=HELLO, headers={"origin": PAGE})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    refused = shared.post(json={}, headers={"origin": PAGE})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert shared.post(json=HELLO, headers={"origin": PAGE + "0"}).status_code == 403


@pytest.mark.parametrize("wanted", ["authorization,content-type", "x-a, x-b", "bad\tname"])
def test_preflight(shared: RunningGateway, wanted: str) -> None:
    headers = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    }
    answer = shared.shared.options(shared.url + "/v1/chat/completions", headers=headers)
    assert answer.status_code == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"]
    assert "authorization" in allowed if "\t" in wanted else allowed == wanted


def test_preflight_of_a_stranger_is_refused(gateway: RunningGateway) -> None:
    headers = {"origin": PAGE, "access-control-request-method": "POST"}
    answer = gateway.shared.options(gateway.url + "/v1/chat/completions", headers=headers)
    assert answer.status_code == 403


def test_preflight_needs_no_key(gateways: RunningGateways) -> None:
    gateway = gateways.with_settings(api_keys=("sesame",), allowed_origins=(PAGE,))
    headers = {"origin": PAGE, "access-control-request-method": "POST"}
    url = gateway.url + "/v1/chat/completions"
    assert gateway.shared.options(url, headers=headers).status_code == 204


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", ""])
def test_beyond_loopback_a_key_is_a_must(host: str) -> None:
    with pytest.raises(InvalidRequest, match="API key"):
        build_app(FakeService(), GatewaySettings(host=host))
    build_app(FakeService(), GatewaySettings(host=host, api_keys=("k",)))


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        build_app(FakeService(), GatewaySettings(api_keys=("",)))


def test_loopback_names() -> None:
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("localhost.")
    assert not is_loopback("::")
