"""How a model reads a prompt, without generating anything."""

import pytest

from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.reading import read
from ai_assistant.protocol.errors import UnsupportedFeature
from ai_assistant.protocol.frames import Failed, Generate, Tokenize, Tokenized
from ai_assistant.protocol.requests import (
    ChatMessage,
    ChatPrompt,
    GenerateRequest,
    Prompt,
    TextPrompt,
    TokenizeRequest,
    TokenPrompt,
)

CHAT = ChatPrompt(messages=(ChatMessage(role="user", content="Hello!"),))


def asked(prompt: Prompt, **options: bool) -> TokenizeRequest:
    return TokenizeRequest(request_id="t", model="m", prompt=prompt, **options)


def test_text_comes_back_from_its_tokens(starter: Model) -> None:
    text = "Hello 🦊\n狐狸 <|im_end|>"
    tokens = read(asked(TextPrompt(text), add_special=False), starter.vocabulary).tokens
    assert read(asked(TokenPrompt(tokens)), starter.vocabulary).text == text


def test_names_of_control_tokens_are_text_unless_they_are_to_be_read(starter: Model) -> None:
    name = TextPrompt("<|im_end|>")
    one = read(asked(name, add_special=False), starter.vocabulary).tokens
    several = read(asked(name, add_special=False, parse_special=False), starter.vocabulary).tokens
    assert len(one) == 1 < len(several)


def test_pieces_are_the_bytes_of_the_text(starter: Model) -> None:
    found = read(asked(TextPrompt("狐狸"), add_special=False, pieces=True), starter.vocabulary)
    assert b"".join(found.pieces).decode() == "狐狸"
    assert len(found.pieces) == len(found.tokens)


def test_a_conversation_is_counted_as_it_will_be_computed(starter: Model) -> None:
    intake = Intake(starter, 2048)
    told = intake.prepare(Tokenize(asked(CHAT)))
    computed = intake.prepare(Generate(GenerateRequest(request_id="g", model="m", prompt=CHAT)))
    assert isinstance(told, Tokenized)
    assert list(told.tokenization.tokens) == list(computed.sequences[0].tokens)  # type: ignore[union-attr]
    assert "Hello!" in told.tokenization.text


def test_a_prompt_longer_than_the_context_can_be_counted(starter: Model) -> None:
    told = Intake(starter, 8).prepare(Tokenize(asked(TextPrompt("word " * 100))))
    assert isinstance(told, Tokenized)
    assert len(told.tokenization.tokens) > 8


def test_unknown_tokens_are_refused_by_name(starter: Model) -> None:
    told = Intake(starter, 2048).prepare(Tokenize(asked(TokenPrompt((10**6,)))))
    assert isinstance(told, Failed)
    assert told.error.param == "tokens"


def test_a_model_without_conversations_says_so(starter: Model) -> None:
    with pytest.raises(UnsupportedFeature, match="chat model"):
        read(asked(CHAT), starter.vocabulary)
