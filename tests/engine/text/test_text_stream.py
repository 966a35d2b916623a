"""Whole characters and stop strings, against the slow and obvious way."""

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.text.stream import StopFinder, Utf8Stream

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=4), st.text(max_size=3).map(str.encode), st.just("🙂".encode()[:2])
    ),
    max_size=12,
)
TEXTS = st.lists(st.text("abc", max_size=4), max_size=12)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3)


@given(pieces=PIECES)
def test_characters_are_those_of_the_whole(pieces: list[bytes]) -> None:
    stream = Utf8Stream()
    text = "".join(map(stream.feed, pieces)) + stream.flush()
    assert text == b"".join(pieces).decode("utf-8", "replace")


def test_a_character_comes_whole_or_not_at_all() -> None:
    stream = Utf8Stream()
    assert [stream.feed(bytes([byte])) for byte in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]
    assert (stream.feed(b"\xe2\x82"), stream.feed(b"A"), stream.flush()) == ("", "\ufffdA", "")
    assert (stream.feed(b"\xf0\x9f"), stream.flush(), stream.flush()) == ("", "\ufffd", "")


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


@given(parts=TEXTS, stops=STOPS)
def test_the_first_stop_to_be_complete_ends_the_text(parts: list[str], stops: list[str]) -> None:
    finder = StopFinder(stops)
    emitted, hit = "", False
    for part in parts:
        text, hit = finder.feed(part)
        emitted += text
        if hit:
            break
    assert (emitted + finder.flush(), hit) == naive("".join(parts), stops)


@given(parts=TEXTS, stops=STOPS)
def test_only_the_beginning_of_a_stop_is_held_back(parts: list[str], stops: list[str]) -> None:
    finder = StopFinder(stops)
    for part in parts:
        if finder.feed(part)[1]:
            return
    held = finder.flush()
    assert held == "" or any(stop.startswith(held) for stop in stops)


def test_no_stops_hold_nothing_back() -> None:
    assert StopFinder([]).feed("any") == ("any", False)
    assert StopFinder([""]).feed("any") == ("any", False)


def test_the_stop_string_that_was_found_is_known() -> None:
    finder = StopFinder(("END", "\n\n"))
    assert finder.feed("one E") == ("one ", False)
    assert finder.found is None
    assert finder.feed("ND\n\n") == ("", True)
    assert finder.found == "END"
