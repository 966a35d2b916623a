"""How a model reads a prompt: the text that its template makes, and the tokens of a text."""

from array import array
from collections.abc import Callable

from ai_assistant.engine.kernels.vocabulary import Vocabulary
from ai_assistant.protocol.chunks import Tokenization
from ai_assistant.protocol.errors import InvalidRequest, UnsupportedFeature
from ai_assistant.protocol.requests import ChatPrompt, TextPrompt, TokenizeRequest

ReadChat = Callable[[ChatPrompt], "tuple[str, array[int]]"]
"""A conversation's text and tokens."""


def read(
    request: TokenizeRequest, vocabulary: Vocabulary, read_chat: ReadChat | None = None
) -> Tokenization:
    """The prompt as text and tokens; raises `RequestError`."""
    prompt = request.prompt
    if isinstance(prompt, ChatPrompt):
        if read_chat is None:
            raise UnsupportedFeature("This model reads no conversations: ask a chat model.")
        text, tokens = read_chat(prompt)
    elif isinstance(prompt, TextPrompt):
        text, tokens = prompt.text, _tokens(prompt.text, request, vocabulary)
    else:
        tokens = known_tokens(prompt.tokens, vocabulary, "tokens")
        text = b"".join(map(vocabulary.piece, tokens)).decode("utf-8", "replace")
    pieces = tuple(map(vocabulary.piece, tokens)) if request.pieces else ()
    return Tokenization(text=text, tokens=tuple(tokens), pieces=pieces)


def _tokens(text: str, request: TokenizeRequest, vocabulary: Vocabulary) -> "array[int]":
    ids = vocabulary.tokenize(
        text, add_special=request.add_special, parse_special=request.parse_special
    )
    return array("i", ids)


def known_tokens(tokens: tuple[int, ...], vocabulary: Vocabulary, param: str) -> "array[int]":
    """The tokens, if the model knows them all; raises `InvalidRequest` that names `param`."""
    wrong = next((token for token in tokens if not 0 <= token < vocabulary.size), None)
    if wrong is not None:
        raise InvalidRequest(
            f"Token {wrong} is not in the model's vocabulary of {vocabulary.size}.", param=param
        )
    return array("i", tokens)
