"""The gate: what it lets out, what it keeps, what it writes down."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.policy.policy_parts import CLOUD, LAN, MACHINE, OPEN, PROCESS, chat, departure, gate_of

from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.egress.verify import read_records, verify
from ai_assistant.policy.errors import KeptHere, NotRecorded
from ai_assistant.policy.gate import Gate, Outbound
from ai_assistant.policy.labels import Destination, Facts, Labels
from ai_assistant.policy.vault import Vault
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import GenerateRequest, TokenPrompt

SECRET = "mail alice@example.com"


async def opened(
    gate: Gate, request: GenerateRequest, where: Destination = CLOUD, **how: object
) -> Outbound[GenerateRequest]:
    examined = gate.examine(request, Facts(tenant="alice"))
    return await gate.open(request, examined, where, request_id="r1", **how)  # pyright: ignore[reportArgumentType]


def records(folder: Path) -> list[Record]:
    return [one for one in read_records(folder / "egress") if one.kind != "segment"]


def test_what_leaves_is_hidden_recorded_and_restored(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        outbound = await opened(gate, chat(SECRET, tenant="alice"))
        assert outbound.request == chat("mail [EMAIL_1]")
        body = msgspec.json.encode(outbound.request)
        leaving = departure(body)
        await gate.let_out(leaving)
        gate.came_back(leaving, "completed", status=200, received=77)
        answer = outbound.restorer().restore(TokenChunk(text="[EMAIL_1]!"))
        assert answer.text == "alice@example.com!"
        sent, ended = records(tmp_path)
        assert (sent.kind, sent.destination, sent.region, sent.bytes) == (
            "sent", "openai", "us", len(body))  # fmt: skip
        assert (sent.labels, sent.decision, sent.hidden) == (("email",), "redact", {"email": 1})
        assert (ended.id, ended.outcome, ended.received) == (sent.id, "completed", 77)

    asyncio.run(way())
    written = b"".join(path.read_bytes() for path in (tmp_path / "egress").glob("*.jsonl"))
    assert b"alice" not in written
    assert verify(tmp_path / "egress").sound


def test_what_was_not_opened_does_not_leave(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        with pytest.raises(KeptHere, match="did not pass the gate"):
            await gate.let_out(departure(b"{}"))
        outbound = await opened(gate, chat("hello"))
        await gate.let_out(departure(b"{}"))
        elsewhere = (
            departure(b"{}", LAN),
            departure(b"{}", request_id="r2"),
            msgspec.structs.replace(departure(b"{}"), region="eu"),
            msgspec.structs.replace(departure(b"{}"), place="lan"),
        )
        for other in elsewhere:
            with pytest.raises(KeptHere):
                await gate.let_out(other)
        gate.close("r1", outbound.destination)
        with pytest.raises(KeptHere):
            await gate.let_out(departure(b"{}"))

    asyncio.run(way())
    assert [one.kind for one in records(tmp_path)] == ["sent"]


def test_a_worker_that_sends_the_original_is_stopped(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        await opened(gate, chat(SECRET + " müller@x.org"))
        for body in (SECRET.encode(), b'"' + SECRET.encode() + b'"'):
            with pytest.raises(KeptHere, match="still in it"):
                await gate.let_out(departure(body))

    asyncio.run(way())
    assert {one.kind for one in records(tmp_path)} == {"refused"}


def test_what_may_not_go_is_refused_and_recorded(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        opaque = GenerateRequest(request_id="r1", model="m", prompt=TokenPrompt((1,)))
        for request in (chat("card 4111 1111 1111 1111"), opaque):
            with pytest.raises(KeptHere):
                await opened(gate, request)
            with pytest.raises(KeptHere):
                await gate.let_out(departure(b"{}"))
            assert (await opened(gate, request, MACHINE)).request.prompt == request.prompt
            assert (await opened(gate, request, PROCESS)).request.prompt == request.prompt

    asyncio.run(way())
    first, second = records(tmp_path)
    assert (first.kind, first.labels) == ("refused", ("card",))
    assert second.labels == ("opaque",)


def test_labels_stick(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        examined = gate.examine(chat("card 4111 1111 1111 1111"), Facts())
        request = chat("and now?")
        later = gate.examine(request, Facts(carried=examined.labels))
        assert later.labels == Labels(frozenset({"card"}))
        with pytest.raises(KeptHere, match="card"):
            await gate.open(request, later, CLOUD, request_id="r2")

    asyncio.run(way())


def test_placeholders_stay_the_same_over_turns_and_workers(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        first = await opened(gate, chat(SECRET))
        other = Destination(name="openai", reach="cloud", region="eu")
        then = await opened(gate, chat("bob@example.com", "yes", SECRET), other, vault=first.vault)
        assert then.request == chat("[EMAIL_2]", "yes", "mail [EMAIL_1]")

    asyncio.run(way())


def test_secrets_that_are_not_to_be_restored_stay_hidden(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        outbound = await opened(gate, chat("my password is hunter2"))
        piece = TokenChunk(text="login [SECRET_1].", finish="stop")
        assert outbound.restorer().restore(piece) == piece

    asyncio.run(way())


def test_without_a_log_nothing_leaves(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        await opened(gate, chat("hello"))
        (tmp_path / "egress").write_text("in the way")
        with pytest.raises(NotRecorded):
            await gate.let_out(departure(b"{}"))

    asyncio.run(way())


def test_without_rules_nothing_leaves(tmp_path: Path) -> None:
    async def way() -> None:
        for rules in ("", "version = 1\n", "[unlabelled]\nallow = ['openai'"):
            gate = gate_of(tmp_path, rules)
            for where in (CLOUD, LAN):
                with pytest.raises(KeptHere):
                    await opened(gate, chat("hello"), where)
            await opened(gate, chat("hello"), MACHINE)
            gate._log.close()  # pyright: ignore[reportPrivateUsage]

    asyncio.run(way())


def test_every_try_is_a_departure_of_its_own(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        await opened(gate, chat("hello"))
        for number in range(3):
            await gate.let_out(departure(b"{}"))
            if number:
                gate.came_back(departure(b"{}"), "failed", error="stream_stalled")

    asyncio.run(way())
    found = records(tmp_path)
    assert len({one.id for one in found if one.kind == "sent"}) == 3
    assert sum(one.kind == "ended" for one in found) == 2


def test_a_departure_that_nobody_waited_for_is_said_not_to_have_left(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        await opened(gate, chat("hello"))
        leaving = asyncio.create_task(gate.let_out(departure(b"{}")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        for _ in range(200):
            if len(records(tmp_path)) == 2:
                break
            await asyncio.sleep(0.01)

    asyncio.run(way())
    sent, ended = records(tmp_path)
    assert (ended.id, ended.outcome, ended.error) == (sent.id, "cancelled", "not_sent")


def test_rules_that_change_count_from_the_next_request_on(tmp_path: Path) -> None:
    async def way() -> None:
        gate = gate_of(tmp_path)
        await opened(gate, chat("Falcon"))
        (tmp_path / "policy.toml").write_text(OPEN + "[labels.project]\nwords = ['Falcon']\n")
        with pytest.raises(KeptHere, match="project"):
            await opened(gate, chat("Falcon"))

    asyncio.run(way())


def test_the_whole_vault_is_not_shown_by_its_owner(tmp_path: Path) -> None:
    async def way() -> None:
        outbound = await opened(gate_of(tmp_path), chat(SECRET))
        assert "alice" not in repr(outbound)
        assert isinstance(outbound.vault, Vault)

    asyncio.run(way())
