"""Whether blocks are worth sending, and what trying costs at most."""

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.scheduler.scripted_source import Line, ScriptedSource

from ai_assistant.policy.egress.log import EgressLog
from ai_assistant.policy.gate import Gate
from ai_assistant.policy.labels import Destination
from ai_assistant.policy.rules_file import RulesFile
from ai_assistant.protocol.blocks import BlockHead, Head, Offered, Part, Weighed
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.requests import GenerateRequest, TextPrompt
from ai_assistant.scheduler.blocks.carrying import Carrying
from ai_assistant.scheduler.blocks.worth import MOST_LATER, Prospect, patience, refusal
from ai_assistant.scheduler.candidates import Candidate
from ai_assistant.scheduler.relay import relay
from ai_assistant.scheduler.turn import Turn

LAN = Prospect(
    tokens=16 * 256, block_tokens=256, block_bytes=3_000_000, prefill=200.0, link=1e8, room=1 << 29
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"link": 0.0}, ""),  # nobody knows: it is tried
        ({"link": 2e6}, "sending is predicted to take longer"),
        ({"prefill": 20_000.0, "link": 1e8}, "sending is predicted to take longer"),
        ({"prefill": 0.0}, "how quickly it computes is not known yet"),
        ({"tokens": 0}, "it has them all"),
        ({"room": 2_999_999}, "it has no room for a block"),
    ],
)
def test_blocks_are_sent_where_that_is_quicker(changes: dict[str, float], why: str) -> None:
    assert refusal(structs.replace(LAN, **changes)) == why


@given(
    st.integers(1, 500 * 256), st.floats(1.0, 1e5), st.lists(st.floats(0.0, 100.0), max_size=500)
)
def test_whoever_gives_up_has_lost_three_per_cent_at_most(
    tokens: int, prefill: float, seconds: list[float]
) -> None:
    """However long each block takes."""
    prospect = structs.replace(LAN, tokens=tokens, prefill=prefill)
    blocks = -(-tokens // prospect.block_tokens)
    now, arrived = 0.0, 0
    for taken in seconds[:blocks]:
        until = patience(prospect, arrived)
        if now + taken > until:
            now = max(now, until)
            break
        now, arrived = now + taken, arrived + 1
    rest = max(tokens - arrived * prospect.block_tokens, 0) / prefill
    assert now + rest <= prospect.computing * (1 + MOST_LATER) * (1 + 1e-9)


# The carrying.


class ScriptedBlocks:
    """A giver of four blocks and a taker, as quick as the test says."""

    def __init__(
        self, text: str = "the boat " * 4, *, known: int = 0, seconds: float = 0.0
    ) -> None:
        self.known = known
        self.seconds = seconds
        self.refuses = ""
        self.taken: list[Part] = []
        self.link = 0.0
        self.offered = Offered(
            model="m",
            fits="f",
            text=text.encode(),
            cuts=(1,) * len(text),
            block_tokens=-(-len(text) // 4),
            block_bytes=9,
        )

    async def give(self, ticket: str) -> AsyncGenerator[Part, None]:
        assert ticket == "ticket"
        yield Part(Head(offered=self.offered))
        for index in range(4):
            head = BlockHead(index=index, codec=0, word=1, raw=1, checksum=zlib.crc32(b"s"))
            yield Part(Head(block=head), b"s")

    async def weigh(self, offered: Offered) -> Weighed:
        if self.refuses:
            raise UnsupportedFeature(self.refuses)
        return Weighed(known=self.known, prefill=len(offered.cuts) / 2.0, room=100)

    async def take(self, part: Part) -> None:
        await asyncio.sleep(self.seconds)
        self.taken.append(part)


class SourceWithBlocks(ScriptedSource):
    """A source of tokens that has some."""

    def __init__(self, blocks: ScriptedBlocks, *scripts: Sequence[Line]) -> None:
        super().__init__("desk", *scripts)
        self.own = blocks

    def blocks(self, model: str, request_id: str, tenant: str) -> ScriptedBlocks:
        return self.own


def turn_of(blocks: ScriptedBlocks, name: str, reach: str) -> Turn:
    return turn_from(SourceWithBlocks(blocks), name, reach)


def turn_from(source: SourceWithBlocks, name: str, reach: str) -> Turn:
    where = Destination(name=name, reach=reach)  # type: ignore[arg-type]
    return Turn(candidate=Candidate(name=name, source=source, destination=where))


RULES = '[unlabelled]\nallow = ["lan"]\n[labels.email]\nredact = ["lan"]\n'
Bring = Callable[..., float]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Carries blocks from this node to one in the own network; how long that took."""

    def run(giver: ScriptedBlocks, taker: ScriptedBlocks, rules: str = RULES) -> float:
        (tmp_path / "policy.toml").write_text(rules)
        log = EgressLog(tmp_path / "egress")
        gate = Gate(RulesFile(tmp_path / "policy.toml"), log)
        request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("Tell of a boat."))

        async def carry() -> float:
            carrying = Carrying(turn_of(giver, "here", "process"), "ticket", gate)
            begun = time.monotonic()
            await carrying.bring(request, turn_of(taker, "desk", "lan"))
            return time.monotonic() - begun

        try:
            return asyncio.run(carry())
        finally:
            log.close()

    return run


def test_all_blocks_arrive_in_order_each_with_its_text(bring: Bring) -> None:
    giver, taker = ScriptedBlocks(), ScriptedBlocks()
    bring(giver, taker)
    assert [part.head.offered for part in taker.taken] == [
        giver.offered.first(count) for count in (1, 2, 3, 4)
    ]
    assert taker.taken[-1].head.offered == giver.offered


def test_blocks_that_the_other_node_has_are_not_sent(bring: Bring) -> None:
    taker = ScriptedBlocks(known=3)
    bring(ScriptedBlocks(), taker)
    assert [part.head.block.index for part in taker.taken if part.head.block] == [3]


def test_a_slow_link_is_given_up_soon(bring: Bring, caplog: pytest.LogCaptureFixture) -> None:
    """Computing would take 2 s: a block that takes longer than a moment is not waited for."""
    taker = ScriptedBlocks(seconds=5.0)
    took = bring(ScriptedBlocks(), taker)
    assert took < 2.0 * MOST_LATER + 0.3
    assert taker.taken == []
    assert "it fell behind computing" in caplog.text


def test_a_refusal_is_told_and_costs_nothing(
    bring: Bring, caplog: pytest.LogCaptureFixture
) -> None:
    taker = ScriptedBlocks()
    taker.refuses = "they are of another model file"
    bring(ScriptedBlocks(), taker)
    assert taker.taken == []
    assert "they are of another model file" in caplog.text


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("the boat of jane.roe@example.org " * 4, RULES),  # would go with placeholders
        ("the boat " * 4, '[unlabelled]\nallow = ["machine"]\n'),
        ("the boat " * 4, "this is no rule file"),
    ],
    ids=["hidden words", "not allowed", "broken rules"],
)
def test_blocks_go_only_where_their_text_may_go_as_it_is(
    bring: Bring, caplog: pytest.LogCaptureFixture, text: str, rules: str
) -> None:
    taker = ScriptedBlocks()
    with caplog.at_level(logging.WARNING):
        bring(ScriptedBlocks(text), taker, rules)
    assert taker.taken == []
    assert "KV blocks do not go to desk" in caplog.text


@pytest.mark.parametrize("with_blocks", [True, False])
def test_an_answer_that_changes_nodes_takes_its_blocks_along_if_the_owner_wants(
    with_blocks: bool, tmp_path: Path
) -> None:
    giver, taker = ScriptedBlocks(), ScriptedBlocks()
    usage = TokenChunk(finish="stop", usage=Usage(prompt_tokens=1, completion_tokens=1))
    pause: list[Line] = [0.05, TokenChunk(), 0.05, TokenChunk()]
    going = [TokenChunk(text="a"), TokenChunk(leaving="", ticket="ticket"), *pause, *pause]
    there = SourceWithBlocks(giver, going)
    here = SourceWithBlocks(taker, [TokenChunk(text="x"), usage], [TokenChunk(text="c"), usage])
    request = GenerateRequest(request_id="r", model="m", prompt=TextPrompt("Tell of a boat."))
    (tmp_path / "policy.toml").write_text(RULES)
    far = turn_from(there, "far", "lan")

    async def ask() -> str:
        log = EgressLog(tmp_path / "egress")
        gate = Gate(RulesFile(tmp_path / "policy.toml"), log)
        turns = [
            structs.replace(far, candidate=structs.replace(far.candidate, remote=there)),
            turn_from(here, "m", "process"),
        ]
        said = [one.text async for one in relay(request, turns, gate, with_blocks=with_blocks)]
        log.close()
        return "".join(said)

    assert asyncio.run(ask()) == "ac"
    assert len(taker.taken) == (4 if with_blocks else 0)
