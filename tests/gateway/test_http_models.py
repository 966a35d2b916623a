from typing import Any

import pytest
from tests.fakes.fake_service import model
from tests.fakes.running_gateway import RunningGateway


def test_the_official_client_lists_models(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        models = client.models.list().data
    assert [entry.id for entry in models] == ["starter", "org/big"]
    assert {entry.object for entry in models} == {"model"}


def test_the_context_length_is_where_clients_look(gateway: RunningGateway) -> None:
    entry = gateway.get("/v1/models").json()["data"][0]
    assert entry["max_model_len"] == entry["context_length"] == entry["meta"]["n_ctx_train"] == 2048


@pytest.mark.parametrize("path", ["/v1/models/org/big", "/v1/models/org%2Fbig"])
def test_a_models_id_may_hold_slashes(gateway: RunningGateway, path: str) -> None:
    assert gateway.get(path).json()["id"] == "org/big"


def test_an_unknown_model_is_not_found(gateway: RunningGateway) -> None:
    answer = gateway.get("/v1/models/no/such")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("models", "status"),
    [
        ((), 200),
        ((model("a", state="unloaded", default=True),), 200),
        ((model("a", state="ready", default=True),), 200),
        ((model("a", state="loading", default=True),), 503),
        ((model("a", state="failed", default=True),), 503),
        ((model("a", state="loading", default=True), model("b")), 200),
    ],
)
def test_readiness(gateway: RunningGateway, models: tuple[Any, ...], status: int) -> None:
    gateway.service.models = models
    for path in ("/health", "/v1/health", "/readyz"):
        assert gateway.get(path).status_code == status
    assert gateway.get("/livez").json() == {"status": "ok"}


def test_loading_looks_like_llama_cpps(gateway: RunningGateway) -> None:
    gateway.service.models = (model("a", state="loading", default=True),)
    answer = gateway.get("/health")
    assert answer.json() == {
        "error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    }
    assert answer.headers["retry-after"] == "5"


def test_status_is_the_nodes_own(gateway: RunningGateway) -> None:
    status = gateway.get("/status").json()
    assert status["models"][0]["model"]["id"] == "starter"
    assert status["uptime_seconds"] == 1.0


def test_head_is_answered(gateway: RunningGateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(999).startswith(b"HTTP/1.1 200")
