"""Tokens as text with cuts: what is spelled is read as the same tokens, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.engine.conftest import MakeBench
from tests.engine.test_engine import chat

from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.spelling import Names, Speller, tokens_of
from ai_assistant.protocol.errors import CannotContinue
from ai_assistant.protocol.frames import Generate
from ai_assistant.protocol.requests import GenerateRequest, Partial, Sampling, TextPrompt
from ai_assistant.protocol.spelling import Spelled, Spelling

FILE = "ab" * 16


def spelled_by(names: Names, *parts: list[int]) -> list[Spelled | None]:
    """What a speller tells after each part of an answer."""
    speller = Speller(names, FILE, seed=3)
    told: list[Spelled | None] = []
    for part in parts:
        for token in part:
            speller.push(token)
        told.append(speller.take())
    return told


@pytest.fixture(scope="module")
def names(starter: Model) -> Names:
    made = Names(starter.vocabulary)
    made.read()
    return made


def test_an_answer_told_in_parts_is_read_as_the_same_tokens(starter: Model, names: Names) -> None:
    vocabulary = starter.vocabulary

    @given(st.lists(st.text(max_size=20), max_size=6), st.integers(0, vocabulary.size - 1))
    def check(texts: list[str], any_token: int) -> None:
        def read(text: str) -> list[int]:
            return vocabulary.tokenize(text, add_special=False, parse_special=True)

        # Whole characters: where one is cut, both are told with the next part.
        parts = [read(text) for text in texts]
        if any_token in vocabulary.control:
            parts.append([any_token])
        whole = Spelling()
        for told in spelled_by(names, *parts):
            if told is not None:
                whole.add(told)
        every = [token for part in parts for token in part]
        assert whole.count == len(every)
        found = whole.whole()
        if every:
            assert found is not None
            assert found.seed == 3
            assert tokens_of(found, names, lambda: FILE).tolist() == every

    check()


def test_half_a_character_waits_for_its_other_half(starter: Model, names: Names) -> None:
    bytes_of = {starter.vocabulary.piece(token): token for token in range(starter.vocabulary.size)}
    halves = [bytes_of[bytes([byte])] for byte in "é".encode()]
    first, second = spelled_by(names, halves[:1], halves[1:])
    assert first is None
    assert second == Spelled(text="é", cuts=(1, 1), model=FILE, seed=3)


def test_what_is_no_text_is_not_told_at_all(starter: Model, names: Names) -> None:
    bytes_of = {starter.vocabulary.piece(token): token for token in range(starter.vocabulary.size)}
    wrong, letter = bytes_of[b"\xff"], bytes_of[b"a"]
    assert spelled_by(names, [letter], [wrong], [letter])[1:] == [None, None]


@pytest.mark.parametrize(
    "wrong",
    [
        Spelled(text="boat", cuts=(4,), model="cd" * 16),
        Spelled(text="boat", cuts=(4,)),
        Spelled(text="boat", cuts=(2, 3), model=FILE),
        Spelled(text="boat", cuts=(4, 0), model=FILE),
        Spelled(text="boat", cuts=(5, -1), model=FILE),
        Spelled(text="boat", cuts=(), model=FILE),
        Spelled(text="boat", cuts=(4,), start=7, model=FILE),
        Spelled(text="zq\u2603zq\u2603", cuts=(10,), model=FILE),
        Spelled(text="\ud800", cuts=(3,), model=FILE),
    ],
)
def test_what_another_node_makes_up_is_refused(names: Names, wrong: Spelled) -> None:
    with pytest.raises(CannotContinue):
        tokens_of(wrong, names, lambda: FILE)


def test_a_gap_is_noticed() -> None:
    told = Spelling()
    told.add(Spelled(text="a", cuts=(1,), model=FILE))
    told.add(Spelled(text="c", cuts=(1,), start=2))
    assert told.whole() is None


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_an_answer_goes_on_from_what_its_pieces_told(
    steady_bench: MakeBench, temperature: float
) -> None:
    made = steady_bench(speculation=False, retained=0)
    intake = made.engine.intake = Intake(made.model, made.plan.context_limit, lambda: FILE)
    request = GenerateRequest(
        request_id="whole", model="m", prompt=TextPrompt(chat("Hello!")), max_tokens=24, spell=True,
        sampling=Sampling(temperature=temperature, presence_penalty=0.3), ignore_eos=True,
    )  # fmt: skip
    intake.names.read()
    made.orders.arrivals.put(intake.prepare(Generate(request)))
    text = made.run().text("whole")
    pieces = [one for one in made.collector.chunks["whole"] if one.spelled]
    told = Spelling()
    assert pieces
    for at, piece in enumerate(pieces[:3]):
        assert piece.spelled
        told.add(piece.spelled)
        partial = Partial(generated=told.count, spelled=told.whole())
        rest = structs.replace(request, request_id=f"rest{at}", partial=partial, spell=False)
        made.orders.arrivals.put(intake.prepare(Generate(rest)))
        made.run()
        said = "".join(one.text for one in pieces[: at + 1])
        assert said + made.collector.text(f"rest{at}") == text
