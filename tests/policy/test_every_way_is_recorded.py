"""A line of a batch, a fallback, a continuation, vectors: each has its record, and a tampered one
is found, by the command that an owner would type."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from benchmarks.policy_upstreams import HERE, PROVIDERS, Here, Told, workers_of
from click.testing import CliRunner

from ai_assistant.cli.audit import command
from ai_assistant.gateway.desk import Desk
from ai_assistant.gateway.sender import Sender, write_owner
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.ports import Call as Line
from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.egress.verify import read_records, verify
from ai_assistant.policy.errors import KeptHere
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.errors import ProviderUnreachable, StreamBroken
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    EmbedRequest,
    GenerateRequest,
    TextPrompt,
    TokenizeRequest,
)
from ai_assistant.scheduler.router import Router
from ai_assistant.scheduler.routing.routes import Route, RoutingSettings
from ai_assistant.scheduler.scheduler import Scheduler
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.workers.providers.provider import Provider
from ai_assistant.workers.remote.transport import Call, Reply

RULES = '[unlabelled]\nallow = ["*"]\n[labels.card]\n'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":5}}\n\ndata: [DONE]\n\n'
)
VECTORS = b'{"data":[{"index":0,"embedding":[0.6,0.8]}],"usage":{"prompt_tokens":3}}'


class Script:
    """`Transport`: `gone` is not there, `breaks` breaks off, the others answer."""

    def __init__(self, name: str, sent: list[tuple[str, bytes]]) -> None:
        self._name, self._sent = name, sent

    async def open(self, call: Call, *, connect_seconds: float) -> Reply:
        self._sent.append((self._name, call.body))
        if self._name == "gone":
            raise ProviderUnreachable("gone cannot be reached.")
        if call.path.endswith("embeddings"):
            return Told([VECTORS], headers={"content-type": "application/json"})
        if self._name == "breaks":
            return Told([EVENT % b"Once "], error=StreamBroken("It broke off."))
        return Told([EVENT % b"upon a time.", END])

    async def close(self) -> None: ...


def chat(name: str, model: str, text: str = "Tell me.") -> GenerateRequest:
    prompt = ChatPrompt(messages=(ChatMessage(role="user", content=text),))
    return GenerateRequest(request_id=name, model=model, prompt=prompt)


class House:
    """A router over scripted providers with a real gate and log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "policy.toml").write_text(RULES)
        self.log = EgressLog(folder / "data/egress/node")
        gate = Gate(RulesFile(folder / "policy.toml"), self.log)
        self.sent: list[tuple[str, bytes]] = []
        one = PROVIDERS["unknown"]
        providers: dict[str, Provider] = dict.fromkeys(("gone", "breaks", "well"), one)
        workers, _ = workers_of(gate, folder, lambda name, _: Script(name, self.sent), providers)
        scheduler = Scheduler(
            (HERE,), lambda _: (Here(random.Random(1)), 1), SchedulerSettings(),
            version="0", load_wait_seconds=5,
        )  # fmt: skip
        routes = {
            "fallback": Route(models=("gone/m", "well/m")),
            "goes-on": Route(models=("breaks/m", "well/m")),
        }
        self.router = Router(scheduler, workers, gate, RoutingSettings(routes=routes))

    async def ask(self, request: GenerateRequest) -> str:
        return "".join([chunk.text async for chunk in self.router.generate(request)])

    def records(self) -> list[Record]:
        return list(read_records(self.folder / "data/egress/node"))


async def every_way(house: House) -> None:
    assert await house.ask(chat("plain", "well/m")) == "upon a time."
    assert await house.ask(chat("fell-back", "fallback")) == "upon a time."
    assert await house.ask(chat("went-on", "goes-on")) == "Once upon a time."
    vectors = EmbedRequest(request_id="vectors", model="well/m", inputs=(TextPrompt("x"),))
    assert (await house.router.embed(vectors)).dimensions == 2
    card = "card 4111 1111 1111 1111"
    for request in (chat("kept", "well/m", card), chat("also-kept", "goes-on", card)):
        with pytest.raises(KeptHere, match="card"):
            await house.ask(request)
    counted = TokenizeRequest(request_id="counted", model="well/m", prompt=TextPrompt(card))
    with pytest.raises(KeptHere, match="card"):
        await house.router.tokenize(counted)
    body = {"model": "well/m", "messages": [{"role": "user", "content": "a line"}]}
    line = Line(
        endpoint="/v1/chat/completions", body=msgspec.json.encode(body), batch="batch_7",
        owner=write_owner(Sender()), request_id="batch_7-1",
    )  # fmt: skip
    answer = await Desk(house.router, GatewaySettings()).answer(line)
    assert answer.status == 200
    house.log.close()


def audit(folder: Path, *words: str) -> tuple[int, str]:
    (folder / "config.toml").write_text(f"[store]\ndata_dir = {json.dumps(str(folder / 'data'))}\n")
    done = CliRunner().invoke(command, [*words, "--config", str(folder / "config.toml")])
    return done.exit_code, done.output


def test_every_way_out_has_its_records(tmp_path: Path) -> None:
    house = House(tmp_path)
    asyncio.run(every_way(house))
    sent = [one for one in house.records() if one.kind == "sent"]
    ended = {one.id: one for one in house.records() if one.kind == "ended"}
    assert len(sent) == len(house.sent)
    assert Counter((one.request, one.destination) for one in sent) == {
        ("plain", "well"): 1,
        ("fell-back", "gone"): 1,
        ("fell-back", "well"): 1,
        ("went-on", "breaks"): 1,
        ("went-on", "well"): 1,
        ("vectors", "well"): 1,
        ("batch_7-1", "well"): 1,
    }
    assert {one.id for one in sent} == set(ended)
    outcomes = {(one.request, one.destination): ended[one.id] for one in sent}
    assert outcomes["fell-back", "gone"].error == "provider_unreachable"
    assert outcomes["went-on", "breaks"].outcome == "failed"
    refused = {one.request for one in house.records() if one.kind == "refused"}
    assert refused == {"kept", "also-kept", "counted"}
    digests = [house.log.digest(body) for _, body in house.sent]
    house.log.close()
    assert [one.digest for one in sent] == digests


def test_the_command_finds_each_and_tells_what_was_changed(tmp_path: Path) -> None:
    asyncio.run(every_way(House(tmp_path)))
    for request in ("fell-back", "went-on", "vectors", "batch_7-1"):
        code, told = audit(tmp_path, "ls", "--request", request)
        assert code == 0
        assert "well" in told
    assert audit(tmp_path, "verify")[0] == 0
    (file,) = (tmp_path / "data/egress/node").glob("*.jsonl")
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    for number in range(1, len(lines)):
        if b'"kind":"sent"' not in lines[number]:
            continue
        changed = lines[number].replace(b'"destination":"', b'"destination":"x', 1)
        file.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
        code, told = audit(tmp_path, "verify")
        assert code == 1
        assert f"{number + 1}" in told
        file.write_bytes(b"".join([*lines[:number], *lines[number + 1 :]]))
        assert audit(tmp_path, "verify")[0] == 1
    file.write_bytes(whole)
    assert verify(file.parent).sound
