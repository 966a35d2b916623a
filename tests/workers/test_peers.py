"""Other nodes tell how busy they are, through the gate, and only while somebody wants to know."""

import asyncio
from pathlib import Path

import pytest
from tests.fakes.scripted_server import ScriptedServer, whole
from tests.system.running_node import RunningNode
from tests.workers.remote_tools import KEY, QUICK

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.verify import read_records
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.workers.providers.fleet import Fleet
from ai_assistant.workers.providers.peers import Peers
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.peer import read_node

OPEN = '[unlabelled]\nallow = ["*"]\n'


class Away:
    """A node elsewhere with two models, and our gate before it."""

    def __init__(self, folder: Path, url: str, *, rules: str = OPEN, place: str = "lan") -> None:
        (folder / "policy.toml").write_text(rules)
        self.log = EgressLog(folder / "egress")
        self.gate = Gate(RulesFile(folder / "policy.toml"), self.log)
        models = tuple(ProviderModel(id=name, names=(name,)) for name in ("starter", "other"))
        there = Provider(
            kind="ai-assistant", base_url=url + "/v1", key="env:KEY", place=place,  # type: ignore[arg-type]
            deadlines=QUICK, models=models,
        )  # fmt: skip
        self.fleet = Fleet(
            {"there": there},
            environ={"KEY": KEY},
            folder=folder,
            gate=self.gate,
            records=RecordsFile(folder / "seen.json"),
        )
        self.peers = Peers(self.fleet.workers, self.gate, seconds=0.05)

    async def look(self) -> None:
        """Once, as if it were wanted."""
        await self.peers.look(self.fleet.workers)

    async def close(self) -> None:
        await self.peers.close()
        await self.fleet.close()
        self.log.close()


def test_a_real_node_tells_its_slots(upstream_node: RunningNode, tmp_path: Path) -> None:
    async def run() -> None:
        away = Away(tmp_path, upstream_node.url)
        starter, other = away.fleet.workers
        assert starter.facts().slots == 0
        await away.look()
        facts = starter.facts()
        engine = upstream_node.model()["engine"]
        assert (facts.slots, facts.running, facts.waiting) == (engine["slots"], 0, 0)
        told = starter.status().engine
        assert told
        assert told.context_limit == engine["context_limit"]
        assert other.facts().slots == 0  # it has no such model
        assert starter.facts().requests == 0  # a look is no request
        await away.close()

    asyncio.run(run())
    kinds = [(one.kind, one.path) for one in read_records(tmp_path / "egress")]
    assert ("sent", "/status") in kinds


def test_nobody_is_asked_while_nobody_wants_to_know(tmp_path: Path) -> None:
    async def run() -> None:
        body = {"models": [{"model": {"id": "starter"}, "state": "loading"}]}
        async with ScriptedServer(lambda _: whole(body)).running() as server:
            away = Away(tmp_path, server.url)
            away.peers.start()
            await asyncio.sleep(0.3)
            assert server.seen == []
            away.fleet.workers[0].facts()
            await asyncio.wait_for(server.asked.wait(), 5)
            await asyncio.sleep(0.1)
            assert away.fleet.workers[0].status().state == "loading"
            assert {one.path for one in server.seen} == {"/status"}
            await away.close()

    asyncio.run(run())


def test_where_nothing_may_leave_nobody_is_asked(tmp_path: Path) -> None:
    async def run() -> None:
        async with ScriptedServer(lambda _: whole({})).running() as server:
            away = Away(tmp_path, server.url, rules="version = 1\n")
            away.peers.start()
            away.fleet.workers[0].facts()
            await asyncio.sleep(0.3)
            assert server.connections == 0
            await away.close()

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"", b"[]", b'{"models": 3}', b"\xff", b'{"models": [{}]}'])
def test_nonsense_is_named(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read_node("there", body, 0.0)
