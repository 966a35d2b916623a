"""Server-sent events, however the bytes arrive."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.protocol.errors import MalformedAnswer
from ai_assistant.workers.remote.sse import EventParser

DATA = st.text(
    st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), min_size=1
).map(str.encode)
NOISE = st.sampled_from([b": ping", b"event: x", b"id: 7", b"retry: 10", b":", b"unknown"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the events that are in it."""
    stream, events = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])), list[bytes]()
    end = draw(ENDS)
    for lines in draw(st.lists(st.lists(DATA, min_size=1, max_size=3), max_size=6)):
        for line in lines:
            for noise in draw(st.lists(NOISE, max_size=2)):
                stream += noise + end
            # One space after the colon belongs to the format.
            stream += b"data: " if line.startswith(b" ") or draw(st.booleans()) else b"data:"
            stream += line + end
        stream += end
        events.append(b"\n".join(lines))
    return stream, events


@given(streams(), st.data())
def test_events_are_the_same_however_the_bytes_are_cut(
    made: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    stream, events = made
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    parser = EventParser()
    ends = [0, *cuts, len(stream)]
    found = [e for a, b in itertools.pairwise(ends) for e in parser.feed(stream[a:b])]
    assert found == events


@given(streams())
def test_bytes_one_by_one_give_the_same(made: tuple[bytes, list[bytes]]) -> None:
    stream, events = made
    parser = EventParser()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == events


@given(st.binary())
def test_nonsense_never_fails(noise: bytes) -> None:
    EventParser().feed(noise)


def test_lines_end_at_line_ends_only() -> None:
    text = '{"a":"\u2028\x85\x0b"}'.encode()
    assert EventParser().feed(b"data: " + text + b"\n\n") == [text]


def test_an_event_without_its_end_is_none() -> None:
    assert EventParser().feed(b'data: {"half": ') == []


def test_comments_alone_are_nothing() -> None:
    assert EventParser().feed(b": ping\n\n: ping\n\n\n\ndata:\n\n") == []


def feed_all(parser: EventParser, *pieces: bytes) -> None:
    for piece in pieces:
        parser.feed(piece)


@pytest.mark.parametrize("piece", [b"x" * 600, b"data: x\n" * 80])
def test_an_endless_event_is_refused(piece: bytes) -> None:
    parser = EventParser(limit=1000)
    with pytest.raises(MalformedAnswer):
        feed_all(parser, piece, piece, piece)
