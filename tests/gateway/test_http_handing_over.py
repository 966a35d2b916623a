"""POST /admin/models/{id}/hand-over over HTTP: who may, and what is told."""

import asyncio

import httpx
import pytest
from tests.fakes.fake_service import FakeService

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.handing_over import hand_over_routes
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.moves import MoveResult

KEYS = ("owner", "student class=batch", "guest name=guest models=starter")


def asked(key: str, body: object) -> tuple[httpx.Response, list[tuple[str, str]]]:
    """The answer, and what was handed over."""
    done: list[tuple[str, str]] = []

    async def hand_over(model: str, to: str) -> MoveResult:
        done.append((model, to))
        return MoveResult(model=model, how="elsewhere", seconds=0.1, sequences=2, gone=1)

    settings = GatewaySettings(api_keys=KEYS)
    app = build_app(FakeService(), settings, mounts=hand_over_routes(hand_over, settings))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            path = "/admin/models/starter/hand-over"
            return await client.post(path, json=body, headers={"authorization": f"Bearer {key}"})

    return asyncio.run(ask()), done


@pytest.mark.parametrize(
    ("key", "status"), [("owner", 200), ("student", 403), ("guest", 403), ("", 401)]
)
def test_only_a_key_without_limits_of_its_own_hands_over(key: str, status: int) -> None:
    answer, done = asked(key, {"to": "desk"})
    assert answer.status_code == status
    assert done == ([("starter", "desk")] if status == 200 else [])
    if status == 200:
        assert (answer.json()["gone"], answer.json()["sequences"]) == (1, 2)


@pytest.mark.parametrize("body", [{}, {"to": 3}, {"to": "desk", "plan": {}}, []])
def test_what_is_no_wish_is_refused(body: object) -> None:
    answer, done = asked("owner", body)
    assert answer.status_code == 400
    assert done == []
