import pytest
from tests.fakes.running_gateway import RunningGateway, eventually, request_bytes

from ai_assistant.protocol.errors import Overloaded
from ai_assistant.protocol.requests import TextPrompt, TokenPrompt

PATH = "/v1/embeddings"


def test_the_official_client_gets_vectors(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        answer = client.embeddings.create(model="starter", input=["a", "b"])
    assert [item.embedding for item in answer.data] == [[1.0, 0.0], [1.0, 0.0]]
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == 6
    assert gateway.service.embedded[0].inputs == (TextPrompt("a"), TextPrompt("b"))


def test_floats_and_base64(gateway: RunningGateway) -> None:
    body = {"input": [[1, 2], [3]]}
    assert gateway.post(PATH, json=body).json()["data"][0]["embedding"] == [1.0, 0.0]
    assert gateway.service.embedded[0].inputs == (TokenPrompt((1, 2)), TokenPrompt((3,)))
    body["encoding_format"] = "base64"  # pyright: ignore[reportArgumentType]
    assert gateway.post(PATH, json=body).json()["data"][0]["embedding"] == "AACAPwAAAAA="


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_cannot_be_is_refused(
    gateway: RunningGateway, fields: dict[str, object], param: str
) -> None:
    assert gateway.error(400, PATH, json=fields)["param"] == param


def test_errors_keep_their_name(gateway: RunningGateway) -> None:
    gateway.service.embedding = Overloaded("Busy.", retry_after=3)
    assert gateway.error(429, PATH, json={"input": "a"})["code"] == "overloaded"


def test_work_for_a_client_that_left_is_cancelled(gateway: RunningGateway) -> None:
    gateway.service.embed_seconds = 60.0
    with gateway.connect() as connection:
        connection.sendall(request_bytes(b'{"input":"a"}', PATH))
        eventually(lambda: gateway.service.embedded)
    eventually(lambda: gateway.service.closed)
