"""KV blocks over HTTP: who may send some, what is no block, and who gets those of an answer."""

import asyncio
import zlib
from collections.abc import AsyncGenerator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.fake_service import FakeService

from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.kv_blocks import kv_block_routes
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.blocks import (
    FIXED,
    BadPart,
    BlockHead,
    Head,
    Offered,
    Part,
    PartReader,
    Weighed,
    pack_part,
    read_part,
)
from ai_assistant.protocol.errors import NotFound

KEYS = ("owner", "student class=batch", "guest name=guest models=starter", "other")
PATH = "/admin/kv-blocks"
BINARY = "application/octet-stream"
ROOM = 10_000
OFFERED = Offered(model="m", fits="f", text=b"abcd", cuts=(1, 3), block_tokens=1, block_bytes=9)


def block(payload: bytes = b"state", index: int = 1) -> Part:
    """The last block of an offer."""
    head = BlockHead(index=index, codec=0, word=1, raw=5, checksum=zlib.crc32(payload))
    return Part(Head(model="starter", offered=OFFERED, block=head), payload)


class FakeBlocks:
    """Keeps what is brought; gives two blocks for the ticket `mine`, to whoever has the key
    `owner`."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Part, str]] = []
        self.weighed: list[tuple[str, Offered, str]] = []
        self.owner = ""

    async def give(self, ticket: str, tenant: str | None) -> AsyncGenerator[Part, None]:
        if ticket != "mine" or tenant != self.owner:
            raise NotFound("No answer here is left for that ticket.")
        yield Part(Head(offered=OFFERED))
        yield block()

    async def room(self, model: str) -> int:
        return ROOM

    async def weigh(self, model: str, offered: Offered, tenant: str) -> Weighed:
        self.weighed.append((model, offered, tenant))
        return Weighed(known=1, prefill=100.0, room=ROOM)

    async def take(self, model: str, part: Part, tenant: str) -> None:
        self.taken.append((model, part, tenant))


def asked(
    body: bytes, *, key: str = "owner", path: str = PATH, media: str = BINARY, shut: bool = False
) -> tuple[httpx.Response, FakeBlocks]:
    blocks = FakeBlocks()
    settings = GatewaySettings(api_keys=KEYS)
    mounts = kv_block_routes(None if shut else blocks, settings)
    app = build_app(FakeService(), settings, mounts=mounts)
    blocks.owner = _tenant("owner")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"authorization": f"Bearer {key}", "content-type": media}
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(ask()), blocks


def _tenant(key: str) -> str:
    from ai_assistant.gateway.keys import read_key

    return read_key(key).tenant


@pytest.mark.parametrize(
    ("key", "status"), [("owner", 200), ("student", 403), ("guest", 403), ("", 401)]
)
def test_only_a_key_without_limits_of_its_own_brings_blocks(key: str, status: int) -> None:
    answer, blocks = asked(pack_part(block()), key=key)
    assert answer.status_code == status
    kept = [("starter", block(), _tenant("owner"))]
    assert blocks.taken == (kept if status == 200 else [])


def test_an_offer_is_weighed_for_the_key_that_makes_it() -> None:
    answer, blocks = asked(pack_part(Part(Head(model="starter", offered=OFFERED))))
    assert answer.json() == {"type": "weighed", "known": 1, "prefill": 100.0, "room": ROOM}
    assert blocks.weighed == [("starter", OFFERED, _tenant("owner"))]


@pytest.mark.parametrize("media", [BINARY, "application/json"])
def test_blocks_of_older_nodes_say_that_they_are_json(media: str) -> None:
    answer, blocks = asked(pack_part(block()), media=media)
    assert answer.status_code == 200
    assert [part for _, part, _ in blocks.taken] == [block()]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/leaving"])
@pytest.mark.parametrize(("key", "status"), [("owner", 404), ("student", 404), ("", 401)])
def test_a_node_that_shares_none_says_which_setting_that_is(
    path: str, key: str, status: int
) -> None:
    answer, blocks = asked(pack_part(block()), key=key, path=path, shut=True)
    assert answer.status_code == status
    assert blocks.taken == []
    if status == 404:
        assert "cache.hand_over is false" in answer.json()["error"]["message"]


WHOLE = pack_part(block())
LARGE = pack_part(block(b"x" * (ROOM + 1)))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"no block at all, but longer than the first bytes of one", 400),
        (WHOLE[:-1], 400),
        (WHOLE[: FIXED + 3], 400),
        (WHOLE + b"x", 400),
        (WHOLE + WHOLE, 400),
        (WHOLE[:-2] + bytes([WHOLE[-2] ^ 4]) + WHOLE[-1:], 400),
        (pack_part(Part(Head(model="starter"))), 400),
        (LARGE[: FIXED + 500], 413),
    ],
    ids=[
        "nothing", "json", "text", "truncated", "cut in its head", "longer", "two", "a bit flipped",
        "nothing said", "oversized",
    ],
)  # fmt: skip
def test_what_is_no_block_is_refused(body: bytes, status: int) -> None:
    answer, blocks = asked(body)
    assert answer.status_code == status, answer.text
    assert blocks.taken == []


def test_blocks_of_an_answer_go_to_whoever_asked_for_it() -> None:
    answer, _ = asked(b'{"ticket": "mine"}', path=f"{PATH}/leaving")
    assert answer.status_code == 200
    assert PartReader().feed(answer.content) == [Part(Head(offered=OFFERED)), block()]


@pytest.mark.parametrize(("key", "ticket"), [("other", "mine"), ("owner", "guessed")])
def test_without_the_ticket_or_the_key_there_are_none(key: str, ticket: str) -> None:
    body = b'{"ticket": "%s"}' % ticket.encode()
    answer, _ = asked(body, key=key, path=f"{PATH}/leaving")
    assert answer.status_code == 404


# The format.


def part_of(cuts: list[int], index: int, payload: bytes, model: str) -> Part:
    """Any part that makes sense to the format."""
    text = b"\xff" * sum(cuts)
    offered = Offered(
        model="m", fits="f", text=text, cuts=tuple(cuts), block_tokens=7, block_bytes=1
    )
    head = BlockHead(index=index, codec=1, word=2, raw=9, checksum=zlib.crc32(payload))
    told = Head(model=model, offered=offered if cuts else None, block=head if payload else None)
    return Part(told, payload)


parts = st.builds(
    part_of,
    st.lists(st.integers(1, 40), max_size=20),
    st.integers(0, 60_000),
    st.binary(max_size=300),
    st.text(max_size=10),
)


@given(st.lists(parts, max_size=4), st.integers(1, 97))
def test_parts_are_read_however_they_are_cut(sent: list[Part], size: int) -> None:
    data, reader = b"".join(map(pack_part, sent)), PartReader()
    found: list[Part] = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    assert found == sent
    assert reader.between


@given(parts, st.data())
def test_a_changed_part_is_refused_or_waits_for_more(part: Part, data: st.DataObject) -> None:
    raw = bytearray(pack_part(part))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadPart):
        read_part(bytes(raw))


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    for body in (data, pack_part(block())[:FIXED] + data):
        with pytest.raises(BadPart):
            read_part(body)


@given(st.lists(st.integers(-2, 40), max_size=8), st.integers(-1, 9), st.integers(-2, 200))
def test_figures_that_cannot_be_right_are_refused(cuts: list[int], count: int, size: int) -> None:
    offered = structs.replace(
        OFFERED, cuts=tuple(cuts), block_tokens=count, text=b"x" * max(size, 0), block_bytes=size
    )
    right = count > 0 and cuts and min(cuts) > 0 and sum(cuts) == size > 0
    body = pack_part(Part(Head(offered=offered)))
    if right:
        assert read_part(body).head.offered == offered
    else:
        with pytest.raises(BadPart):
            read_part(body)
