"""Placeholders come back however the stream is cut, and nothing else waits."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.policy.restore import Restorer, restored
from ai_assistant.policy.vault import Entry, Vault

VAULT = Vault(
    (
        Entry("EMAIL_1", "alice@example.com", "email"),
        Entry("EMAIL_12", 'b"ob\\@x.org', "email"),
        Entry("NATIONAL_ID_1", "110105", "national_id"),
        Entry("SECRET_1", "hunter2", "secret", restore=False),
    )
)
PIECES = st.sampled_from(
    ["[EMAIL_1]", "[EMAIL_12]", "[email_1]", "\\[EMAIL\\_1\\]", "【EMAIL_1】", "EMAIL_1",
     "EMAIL_12x", "[National ID 1]", "[NATIONAL-ID-1]", "[SECRET_1]", "[EMAIL_9]", "[EMAIL", "[",
     "]", "\\", "_", "1",
     " ", "E", "EM", "**", "`", "\n", "[[", "](", "好", "x", "[ EMAIL_1 ]", "[EMAIL_1234567]"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=25).map("".join)


def in_pieces(text: str, cuts: list[int], **how: bool) -> str:
    restorer = Restorer(VAULT, **how)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    return "".join(map(restorer.feed, pieces)) + restorer.flush()


@given(TEXTS, st.lists(st.integers(0, 200), max_size=40))
def test_any_split_gives_the_same_text(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == restored(text, VAULT)
    assert in_pieces(text, cuts, json=True) == restored(text, VAULT, json=True)


@given(st.text(), st.lists(st.integers(0, 200), max_size=20))
def test_other_text_passes_unchanged(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == text


@given(st.text(alphabet="abcdefghij .,!?好的\n0123456789"), st.integers(1, 7))
def test_text_that_cannot_be_a_placeholder_never_waits(text: str, size: int) -> None:
    restorer = Restorer(VAULT)
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        assert restorer.feed(piece) == piece


def test_only_an_unfinished_placeholder_waits() -> None:
    restorer = Restorer(VAULT)
    assert restorer.feed("Dear [EM") == "Dear "
    assert restorer.feed("PLOYEE] and [EMAIL_1") == "[EMPLOYEE] and "
    assert restorer.feed("]!") == "alice@example.com!"
    assert restorer.feed(" EMAIL_1") == " "
    assert restorer.flush() == "alice@example.com"


def test_what_models_do_to_placeholders() -> None:
    alice = "alice@example.com"
    for written in ("[EMAIL_1]", "[email_1]", "[Email 1]", "[EMAIL\\_1]", "\\[EMAIL_1\\]",
                    "EMAIL_1", "【EMAIL_1】", "[ EMAIL_1 ]", "[EMAIL-1]"):  # fmt: skip
        assert restored(f"to {written}.", VAULT) == f"to {alice}.", written
    assert restored("**[EMAIL_1]**, `[EMAIL_1]`", VAULT) == f"**{alice}**, `{alice}`"
    assert restored("[[EMAIL_1]](mailto:[EMAIL_1])", VAULT) == f"[{alice}](mailto:{alice})"


def test_what_is_no_placeholder_stays() -> None:
    for text in ("[EMAIL_2]", "MY_EMAIL_1", "EMAIL_1x", "email_1", "[EMAIL_1x]", "[SECRET_1]"):
        assert restored(text, VAULT) == text


@given(st.lists(st.integers(0, 60), max_size=20))
def test_arguments_of_tool_calls_stay_json(cuts: list[int]) -> None:
    arguments = '{"to": "[EMAIL_12]", "cc": ["[EMAIL_1]"], "n": 1, "p": "a\\\\[EMAIL_1]"}'
    told = json.loads(in_pieces(arguments, cuts, json=True))
    assert told == {"to": 'b"ob\\@x.org', "cc": ["alice@example.com"], "n": 1,
                    "p": "a\\alice@example.com"}  # fmt: skip
