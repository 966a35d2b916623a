import logging

import pytest
from tests.fakes.fake_service import model
from tests.fakes.running_gateway import HELLO, RunningGateway, RunningGateways

from ai_assistant.protocol import errors
from ai_assistant.protocol.errors import AssistantError, ModelLoading


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidRequest("m", param="seed"), 400, "invalid_request"),
        (errors.ContextLengthExceeded("m"), 400, "context_length_exceeded"),
        (errors.UnsupportedFeature("m"), 400, "unsupported_feature"),
        (errors.RequestTooLarge("m"), 413, "request_too_large"),
        (errors.ModelNotFound("m"), 404, "model_not_found"),
        (errors.NotFound("m"), 404, "not_found"),
        (errors.AccessDenied("m"), 401, "invalid_api_key"),
        (errors.Overloaded("m"), 429, "overloaded"),
        (errors.ShuttingDown("m"), 503, "shutting_down"),
        (errors.Unavailable("m"), 503, "unavailable"),
        (errors.EngineError("m"), 500, "engine_error"),
        (errors.EngineDied("m"), 502, "engine_died"),
        (errors.ModelLoadFailed("m"), 500, "model_load_failed"),
        (errors.AssistantError("m"), 500, "internal_error"),
    ],
)
def test_each_error_has_its_status(
    gateway: RunningGateway, error: AssistantError, status: int, code: str, stream: bool
) -> None:
    gateway.service.script = [error]
    told = gateway.error(status, json={**HELLO, "stream": stream})
    assert told["code"] == code
    assert told["message"] == "m"
    assert told["param"] == error.param


def test_overload_says_when_to_come_back(gateway: RunningGateway) -> None:
    gateway.service.script = [errors.Overloaded("m", retry_after=7.2)]
    assert gateway.post(json=HELLO).headers["retry-after"] == "8"


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_loads_too_long_is_told_with_progress(
    gateways: RunningGateways, stream: bool
) -> None:
    gateway = gateways.with_settings(ping_seconds=0.05)
    gateway.service.models = (model("starter", state="loading", default=True),)
    gateway.service.script = [0.2, ModelLoading("m", progress=0.25, retry_after=9)]
    answer = gateway.post(json={**HELLO, "stream": stream})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "9"
    assert answer.json()["error"]["loading"] == {
        "state": "loading",
        "progress": 0.25,
        "eta_seconds": 9,
    }


def test_a_fault_is_logged_with_its_id_and_tells_nothing(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.service.script = [RuntimeError("secret")]
    with caplog.at_level(logging.ERROR):
        answer = gateway.post(json=HELLO)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert answer.headers["x-request-id"] in caplog.text
    assert "RuntimeError: secret" in caplog.text


def test_unknown_addresses_and_methods(gateway: RunningGateway) -> None:
    assert gateway.error(404, "/v1/nothing")["code"] == "not_found"
    assert gateway.error(405, "/v1/models")["code"] == "method_not_allowed"


def test_no_model_named_and_none_by_default(gateway: RunningGateway) -> None:
    gateway.service.models = ()
    assert gateway.error(400, json=HELLO)["param"] == "model"


def test_an_unknown_model_is_refused(gateway: RunningGateway) -> None:
    assert gateway.error(404, json={**HELLO, "model": "x"})["code"] == "model_not_found"


def test_every_answer_has_an_id_of_its_own(gateway: RunningGateway) -> None:
    ids = {gateway.get("/livez").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert "server" not in gateway.get("/livez").headers
