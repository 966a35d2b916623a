"""Who asks, how urgently, and what is made of it."""

import pytest
from tests.fakes.running_gateway import HELLO, RunningGateway, RunningGateways

from ai_assistant.gateway.keys import read_key, secret_of
from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.protocol.requests import GenerateRequest, Priority

KEYS = (
    "plain",
    "hers name=alice weight=2",
    "nights class=batch name=alice",
    "days class=normal",
)


@pytest.fixture
def team(gateways: RunningGateways) -> RunningGateway:
    return gateways.with_settings(api_keys=KEYS)


def asked(
    gateway: RunningGateway, *, key: str = "", path: str = "/v1/chat/completions", **fields: object
) -> GenerateRequest:
    """What reaches the engine."""
    body = {**HELLO, **fields} if "chat" in path else {"prompt": "a", **fields}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    assert gateway.post(path, json=body, headers=headers).status_code == 200
    return gateway.service.asked[-1]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_request_carries_its_keys_tenant_and_weight(team: RunningGateway, path: str) -> None:
    hers, nights = asked(team, key="hers", path=path), asked(team, key="nights", path=path)
    assert (hers.tenant, hers.weight) == ("alice", 2)
    assert (nights.tenant, nights.weight) == ("alice", 1)


def test_a_key_without_a_name_is_a_tenant_that_does_not_tell_it(team: RunningGateway) -> None:
    plain, days = asked(team, key="plain").tenant, asked(team, key="days").tenant
    assert plain.startswith("key-")
    assert plain != days
    assert "plain" not in plain


def test_without_keys_everyone_is_the_same(gateway: RunningGateway) -> None:
    request = asked(gateway, key="whatever", user="bob")
    assert (request.tenant, request.weight) == ("", 1)


def test_the_field_user_changes_no_tenant(team: RunningGateway) -> None:
    assert asked(team, key="hers", user="bob").tenant == "alice"


@pytest.mark.parametrize(
    ("key", "said", "given"),
    [
        ("plain", None, Priority.NORMAL),
        ("plain", "interactive", Priority.INTERACTIVE),
        ("plain", "batch", Priority.BATCH),
        ("days", "interactive", Priority.NORMAL),
        ("days", "batch", Priority.BATCH),
        ("nights", None, Priority.BATCH),
        ("nights", "interactive", Priority.BATCH),
        ("nights", -5, Priority.BATCH),
    ],
)
def test_a_key_never_gets_above_its_class(
    team: RunningGateway, key: str, said: str | int | None, given: Priority
) -> None:
    assert asked(team, key=key, priority=said).priority is given


@pytest.mark.parametrize(
    ("fields", "said", "given"),
    [
        ({}, "batch", Priority.BATCH),
        ({}, "-1", Priority.INTERACTIVE),
        ({"service_tier": "auto"}, "batch", Priority.BATCH),
        ({"service_tier": "default"}, "batch", Priority.NORMAL),
        ({"priority": "interactive"}, "batch", Priority.INTERACTIVE),
        ({"priority": 0, "service_tier": "flex"}, "batch", Priority.NORMAL),
    ],
)
def test_the_header_speaks_where_the_body_is_silent(
    gateway: RunningGateway, fields: dict[str, object], said: str, given: Priority
) -> None:
    gateway.post(json={**HELLO, **fields}, headers={"x-priority": said})
    assert gateway.service.asked[0].priority is given


@pytest.mark.parametrize(
    ("tier", "served"),
    [
        ("auto", "default"),
        ("default", "default"),
        ("scale", "default"),
        ("flex", "flex"),
        ("priority", "priority"),
        ("fast", "priority"),
    ],
)
def test_an_answer_tells_its_service_tier(gateway: RunningGateway, tier: str, served: str) -> None:
    body = {**HELLO, "service_tier": tier}
    assert gateway.post(json=body).json()["service_tier"] == served
    events = [event for event in gateway.events(body) if isinstance(event, dict)]
    assert {event["service_tier"] for event in events} == {served}


def test_the_tier_is_the_one_that_was_given(team: RunningGateway) -> None:
    headers = {"x-api-key": "nights"}
    body = {"prompt": "a", "service_tier": "priority"}
    assert team.post("/v1/completions", json=body, headers=headers).json()["service_tier"] == "flex"


def test_nobody_hears_of_tiers_who_did_not_ask(gateway: RunningGateway) -> None:
    assert "service_tier" not in gateway.post(json={**HELLO, "priority": "batch"}).json()


@pytest.mark.parametrize(
    ("fields", "headers", "param"),
    [
        ({"service_tier": "urgent"}, {}, "service_tier"),
        ({"service_tier": "batch"}, {}, "service_tier"),
        ({"priority": "flex"}, {}, "priority"),
        ({}, {"x-priority": "now"}, "X-Priority"),
        ({"priority": "batch", "service_tier": "x"}, {}, "service_tier"),
    ],
)
def test_an_unknown_urgency_is_refused_with_those_that_are_known(
    gateway: RunningGateway, fields: dict[str, object], headers: dict[str, str], param: str
) -> None:
    error = gateway.error(400, json={**HELLO, **fields}, headers=headers)
    assert error["param"] == param
    assert ("flex" if param == "service_tier" else "interactive") in error["message"]
    assert not gateway.service.asked


def test_a_key_is_the_first_word_of_its_line() -> None:
    assert secret_of("abc= name=a") == "abc="
    assert secret_of("") == ""
    assert read_key("abc # for guests").tenant == read_key("abc").tenant
    with pytest.raises(InvalidRequest) as caught:
        read_key("sesame weight=x")
    assert "sesame" not in caught.value.message
