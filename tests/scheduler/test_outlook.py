"""What jobs foresee of a line: only those count that its key, its batch and the rules allow."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.gateway.access.access import Access
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.keys import read_key
from ai_assistant.gateway.sender import Sender, write_owner
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.ports import Call
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.routing.routes import Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile

CHAT = "/v1/chat/completions"
EU, US = "https://eu.example:443", "https://us.example:443"
OPEN = """
[unlabelled]
allow = ["*"]
[labels.customer-data]
allow = ["eu-cloud"]
[labels.secret]
allow = ["machine"]
"""
HOME = ModelInfo(
    id="home", name="home", path="home.gguf", size_bytes=1, architecture="llama",
    quantisation="Q8_0", parameters=1, context_train=2048,
)  # fmt: skip


class Node:
    """A model here, one in each of two clouds, and a route over all."""

    def __init__(self, router: Router, keys: tuple[str, ...]) -> None:
        settings = GatewaySettings(api_keys=keys)
        self.router = router
        self.desk = Desk(router, settings, access=Access(keys))

    def line(self, key: str, model: str, body: bytes = b"{}", labels: tuple[str, ...] = ()) -> Any:
        owner = write_owner(Sender(**_fields(key)))
        call = Call(
            endpoint=CHAT, body=body, owner=owner, request_id="b-1", batch="b", labels=labels
        )
        return self.desk.outline(call, model)

    def sees(self, *asked: Any, **more: Any) -> tuple[tuple[str, ...], bool]:
        """The servers that the line needs, and whether it may spill."""
        line = self.line(*asked, **more)
        outlook = self.router.outlook
        return outlook.needs_network(line), outlook.may_spill(line)


def _fields(key: str) -> dict[str, Any]:
    from msgspec import structs

    return structs.asdict(read_key(key))


def cloud(address: str, name: str, region: str) -> Provider:
    model = ProviderModel(id=f"{name}-there", names=(name, "both"))
    return Provider(base_url=address + "/v1", region=region, place="cloud", models=(model,))


@contextlib.asynccontextmanager
async def node(folder: Path, *keys: str, rules: str = OPEN) -> AsyncGenerator[Node]:
    if rules:
        (folder / "policy.toml").write_text(rules)
    log = EgressLog(folder / "egress")
    gate = Gate(RulesFile(folder / "policy.toml"), log)
    providers = {
        "eu-cloud": cloud(EU, "eu-model", "eu"),
        "us-cloud": cloud(US, "us-model", "us"),
    }
    records = RecordsFile(folder / "seen.json")
    fleet = Fleet(providers, environ={}, folder=folder, gate=gate, records=records)
    here = Scheduler((HOME,), _none, SchedulerSettings(), version="0", load_wait_seconds=1)
    routes = {"any": Route(models=("home", "eu-model", "us-model"))}
    try:
        yield Node(Router(here, fleet.workers, gate, RoutingSettings(routes=routes)), keys)
    finally:
        await fleet.close(drain=False)
        log.close()


def _none(model: object) -> Any:
    raise AssertionError(model)


@pytest.mark.parametrize(
    ("options", "model", "needs", "spills"),
    [
        ("", "any", (), True),
        ("", "both", (EU, US), False),
        ("", "home", (), False),
        # Models: what the key may not use neither serves the line here nor takes it elsewhere.
        ("models=any,home", "any", (), False),
        ("models=any,eu-model,us-model", "any", (EU, US), False),
        ("models=any,us-model", "any", (US,), False),
        ("models=any,home,us-model", "any", (), True),
        ("models=home", "both", (), False),
        # Regions.
        ("regions=eu", "both", (EU,), False),
        ("regions=cn", "any", (), False),
        ("regions=eu models=any,home,us-model", "any", (), False),
        # Labels, by the owner's rules.
        ("labels=customer-data", "both", (EU,), False),
        ("labels=customer-data", "any", (), True),
        ("labels=secret", "any", (), False),
        ("labels=nobody-knows", "any", (), False),
    ],
)
def test_the_scopes_of_a_key_hold_for_what_is_foreseen(
    tmp_path: Path, options: str, model: str, needs: tuple[str, ...], spills: bool
) -> None:
    key = f"k name=ann {options}"

    async def look() -> None:
        async with node(tmp_path, key) as here:
            assert here.sees(key, model) == (needs, spills)

    asyncio.run(look())


def test_so_do_the_labels_of_the_batch_and_what_the_line_says(tmp_path: Path) -> None:
    async def look() -> None:
        async with node(tmp_path, "k name=ann") as here:
            assert here.sees("k name=ann", "any", labels=("secret",)) == ((), False)
            asks = b'{"labels": ["customer-data"]}'
            assert here.sees("k name=ann", "both", asks) == ((EU,), False)
            wishes = b'{"routing": {"regions": ["us"]}}'
            assert here.sees("k name=ann", "both", wishes) == ((US,), False)
            wrong = b'{"routing": {"max_price": "much"}}'
            assert here.sees("k name=ann", "both", wrong) == ((EU, US), False)

    asyncio.run(look())


def test_without_rules_nothing_is_foreseen_to_leave(tmp_path: Path) -> None:
    async def look() -> None:
        async with node(tmp_path, "k name=ann", rules="") as here:
            assert here.sees("k name=ann", "any") == ((), False)

    asyncio.run(look())


def test_a_line_that_names_no_model_means_the_first_that_its_key_may_use(tmp_path: Path) -> None:
    keys = ("k name=ann", "l name=bob models=us-*")

    async def look() -> None:
        async with node(tmp_path, *keys) as here:
            owners = [write_owner(Sender(**_fields(key))) for key in keys]
            assert here.desk.model_of(None, owners[0]) == "home"
            assert here.desk.model_of(None, owners[1]) == "us-model"
            assert here.desk.model_of("default", owners[1]) == "us-model"
            assert here.desk.model_of("both", owners[1]) == "both"

    asyncio.run(look())
