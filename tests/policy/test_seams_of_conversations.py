"""A conversation that grows is read as well as one that comes whole, between its texts too."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.policy_parts import PATIENT

from ai_assistant.policy import scan as scans
from ai_assistant.policy.scan import Part, Scan, Scanner

CARD, PHONE, ID = "4111 1111 1111 1111", "+49 1512 3458089", "11010519491231002X"
VOICES = ("user", "assistant", "tool")
ONE = Scanner(seconds=PATIENT)
"""Meets all conversations, as a node's does."""


@st.composite
def conversations(draw: st.DrawFn) -> list[Part]:
    """Numbers cut into pieces, over texts of one voice and of several, short and long."""
    parts: list[Part] = []
    for _ in range(draw(st.integers(1, 7))):
        number = draw(st.sampled_from([CARD, PHONE, ID, "see you then"]))
        cut = draw(st.integers(1, len(number) - 1))
        around = draw(st.sampled_from(["", "x" * 100 + " ", "My card: ", " ", "ID number "]))
        for text in (around + number[:cut], number[cut:] + draw(st.sampled_from(["", ". Bye."]))):
            parts.append(Part(text, draw(st.sampled_from(VOICES))))
    return parts


def covered(scan: Scan, index: int) -> set[tuple[int, str]]:
    return {
        (place, one.label) for one in scan.findings[index] for place in range(one.start, one.end)
    }


@settings(max_examples=150, deadline=None)
@given(conversations(), st.randoms(use_true_random=False))
def test_turn_by_turn_nothing_is_missed(parts: list[Part], dice: random.Random) -> None:
    length = 0
    while length < len(parts):
        length = min(length + dice.randint(1, 3), len(parts))
        grown, whole = ONE.scan(parts[:length]), Scanner(seconds=PATIENT).scan(parts[:length])
        assert not grown.failure
        for index in range(length):
            assert covered(grown, index) >= covered(whole, index), parts[:length]


def test_a_number_is_found_when_its_second_half_comes_with_a_later_turn() -> None:
    scanner = Scanner(seconds=PATIENT)
    said = [
        Part("Hello there.", "user"),
        Part("Hello.", "assistant"),
        Part("Card 4111 1111", "user"),
    ]
    scanner.scan(said)
    last = scanner.scan([*said, Part("Go on?", "assistant"), Part(" 1111 1111 please", "user")])
    assert [[one.label for one in own] for own in last.findings] == [
        [], [], ["card"], [], ["card"],
    ]  # fmt: skip


def test_between_texts_that_were_read_before_nothing_is_read_again() -> None:
    read: list[str] = []

    class Noting(Scanner):
        def _read(
            self, text: str, key: bytes, deadline: float, checked: scans.Checked
        ) -> tuple[scans.Finding, ...]:
            read.append(text)
            return super()._read(text, key, deadline, checked)

    scanner = Noting()
    talk = [Part(f"Question {number} " + "x" * 100, "user") for number in range(50)]
    for number in range(1, 50):
        scanner.scan(talk[:number])
    read.clear()
    scanner.scan(talk)
    assert len(read) <= len(talk) + 3, "each text, and the seams of the last one"
