"""POST /admin/models/{id}/move over HTTP: who may."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from tests.fakes.fake_service import FakeService

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.moves import move_routes
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.moves import How, MoveResult, MoveStep

KEYS = ("owner", "student class=batch", "clerk class=normal", "guest name=guest models=starter")


class NotingMover:
    """In the place of the scheduler's: it writes down what it was told to move."""

    def __init__(self) -> None:
        self.moved: list[str] = []
        self.released: list[str] = []

    async def move(
        self, name: str, changes: dict[str, Any], how: How = "auto"
    ) -> AsyncGenerator[MoveStep | MoveResult, None]:
        self.moved.append(name)
        yield MoveStep(phase="done")

    def release(self, name: str) -> None:
        self.released.append(name)


@pytest.mark.parametrize(
    ("key", "status"), [("owner", 200), ("student", 403), ("clerk", 403), ("guest", 403), ("", 401)]
)
def test_only_a_key_without_limits_of_its_own_moves_models(key: str, status: int) -> None:
    mover, settings = NotingMover(), GatewaySettings(api_keys=KEYS)
    app = build_app(FakeService(), settings, mounts=move_routes(mover, settings))

    async def ask(what: str, body: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(
                f"/admin/models/starter/{what}",
                json=body,
                headers={"authorization": f"Bearer {key}"},
            )

    for what, body in (("move", {"plan": {"threads": 1}}), ("release", {})):
        answer = asyncio.run(ask(what, body))
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "key_not_allowed"
    assert mover.moved == mover.released == (["starter"] if status == 200 else [])
