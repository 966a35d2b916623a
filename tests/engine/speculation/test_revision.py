"""A text that is said again with changes is followed through them."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.speculation.revision import COPYING, PATIENCE, Revision
from ai_assistant.engine.speculation.tenants import Tenants

TEXT = list(range(100, 140))


def followed(text: list[int], said: list[int]) -> Revision:
    """A revision that saw `said` after `text`, and takes the first token for that of the text."""
    tokens = array("i", [7, *text, 8])
    revision = Revision(tokens)
    revision.follow(1, COPYING)
    for token in said:
        tokens.append(token)
        if revision.place:
            revision.advance(len(tokens) - 1)
    return revision


def test_a_replaced_token_is_stepped_over_at_once() -> None:
    revision = followed(TEXT, [*TEXT[:5], 900])
    assert revision.following(3).tolist() == TEXT[6:9]
    assert revision.run == 0


def test_tokens_that_were_put_in_or_left_out_are_noticed_at_the_next_one() -> None:
    put_in = followed(TEXT, [*TEXT[:5], 900, 901, TEXT[5]])
    assert put_in.following(2).tolist() == TEXT[6:8]
    left_out = followed(TEXT, [*TEXT[:5], *TEXT[8:10]])
    assert left_out.following(2).tolist() == TEXT[10:12]


def test_another_text_is_not_followed_for_ever() -> None:
    revision = followed(TEXT, [*TEXT[:5], *range(900, 900 + PATIENCE + 1)])
    assert not revision.place


def test_what_was_replaced_once_is_replaced_again() -> None:
    text = [1, 2, 50, 51, 3, 4, 5, 50, 51, 6, 50, 9, 10]
    revision = followed(text, [1, 2, 60, 3, 4, 5])
    assert revision.following(6).tolist() == [60, 6, 50, 9, 10, 8]


def test_a_known_change_goes_on_in_its_middle() -> None:
    text = [1, 2, 50, 3, 4, 5, 50, 6]
    revision = followed(text, [1, 2, 60, 61, 3, 4, 5, 60])
    assert revision.following(2).tolist() == [61, 6]


def test_what_is_left_as_it_is_is_no_longer_replaced() -> None:
    text = [1, 2, 50, 3, 4, 50, 5, 50, 6]
    revision = followed(text, [1, 2, 60, 3, 4, 50])
    assert revision.following(3).tolist() == [5, 50, 6]
    assert revision.run == 3


@given(
    st.lists(st.integers(0, 4), min_size=8, max_size=40),
    st.lists(st.integers(0, 4), max_size=60),
)
def test_it_never_leaves_the_text(text: list[int], said: list[int]) -> None:
    tokens = array("i", text)
    revision = Revision(tokens)
    revision.follow(1, COPYING)
    for token in said:
        tokens.append(token)
        if revision.place:
            expected = revision.expected
            assert revision.following(1).tolist() == [expected]
            revision.advance(len(tokens) - 1)
            assert 0 <= revision.place < len(tokens)
            assert len(revision.following(5)) <= 5


def test_a_drafter_guesses_behind_a_change() -> None:
    tokens = array("i", [7, *TEXT, 8])
    drafter = Tenants().drafter("", tokens)
    drafter.absorb(1000)
    tokens.extend([7, *TEXT[:9]])
    drafter.candidates(4)
    tokens.append(900)
    assert drafter.candidates(3).tokens.tolist() == TEXT[10:13]
