"""/metrics, read by the library that Prometheus' own tools use."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.running_gateway import HELLO, RunningGateway, RunningGateways, eventually
from tests.fakes.scripted_service import big, starter

from ai_assistant.gateway.metrics_of_engines import COUNTERS, GAUGES
from ai_assistant.protocol.status import EngineStatus

NOT_FIGURES = {"pid", "decode_ms_mean", "python_ms_mean"}


@pytest.fixture
def counted(gateways: RunningGateways) -> RunningGateway:
    """A server whose figures no other test adds to."""
    gateway = gateways.with_settings(ping_seconds=14.0)
    gateway.service.models = (starter(), big())
    return gateway


def figures(gateway: RunningGateway, **headers: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, by the labels' names."""
    text = gateway.get("/metrics", headers=headers).text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_engines_figures_are_told_by_model(counted: RunningGateway) -> None:
    found = figures(counted)
    assert found["ai_assistant_running", "starter"] == 3
    assert found["ai_assistant_prompt_tokens_total", "starter"] == 48_210
    assert found["ai_assistant_model_ready", "qwen3-4b-instruct"] == 0
    assert ("ai_assistant_running", "qwen3-4b-instruct") not in found


def test_every_figure_of_an_engine_is_there() -> None:
    fields = {field.name for field in msgspec.structs.fields(EngineStatus)}
    assert set(GAUGES) | set(COUNTERS) == fields - NOT_FIGURES


def test_requests_are_counted_by_endpoint_and_status(counted: RunningGateway) -> None:
    chat = "/v1/chat/completions"
    counted.post(json=HELLO)
    counted.post(json={**HELLO, "stream": True, "priority": "batch"})
    counted.post(json={})
    counted.get("/v1/models/none/such")
    counted.get("/no/such/address")
    eventually(lambda: figures(counted).get(("ai_assistant_http_requests_total", "other", "404")))
    found = figures(counted)
    assert found["ai_assistant_http_requests_total", chat, "200"] == 2
    assert found["ai_assistant_http_requests_total", chat, "400"] == 1
    assert found["ai_assistant_http_requests_total", "/v1/models/{id}", "404"] == 1
    assert found["ai_assistant_http_request_duration_seconds_count", chat] == 3
    first = "ai_assistant_time_to_first_token_seconds_count"
    assert found[first, "normal", "starter"] == 1
    assert found[first, "batch", "starter"] == 1


def test_the_text_is_prometheus_or_openmetrics_as_asked(counted: RunningGateway) -> None:
    plain = counted.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    assert counted.get("/metrics", headers=accept).text.endswith("# EOF\n")


def test_figures_are_behind_the_key(gateways: RunningGateways) -> None:
    locked = gateways.with_settings(api_keys=("sesame name=alice",))
    assert locked.get("/metrics").status_code == 401
    answer = locked.get("/metrics", headers={"authorization": "Bearer sesame"})
    assert answer.status_code == 200
    assert "alice" not in answer.text
    assert "sesame" not in answer.text
