"""Lines of batches: whatever stands in the file, each line is a request or a named problem."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.jobs.bench_house import CHAT, line

from ai_assistant.jobs import lines as lines_module
from ai_assistant.jobs.lines import BadLine, read_lines, read_request

NAMES = st.text(string.ascii_letters + string.digits + "-_ é中\u2028", min_size=1, max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.binary(max_size=300))
@example(b'{"custom_id": "\\ud800", "method": "POST", "url": "/v1/chat/completions", "body": {}}')
@example(b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"a":"\xff"}}')
@example(b'{"custom_id":"a","body":' + b"[" * 5000 + b"]" * 5000 + b"}")
@example(b"null")
@example(b"[]")
def test_no_bytes_are_more_than_a_bad_line(raw: bytes) -> None:
    try:
        read_request(raw, CHAT)
    except BadLine as bad:
        json.dumps([bad.code, bad.message, bad.custom_id]).encode()


@given(st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body"]), JSON))
def test_no_json_is_more_than_a_bad_line(value: dict[str, object]) -> None:
    raw = json.dumps(value).encode()
    try:
        request = read_request(raw, CHAT)
    except BadLine:
        return
    assert value["custom_id"] == request.custom_id
    assert json.loads(request.body) == value["body"]


@given(NAMES, st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_a_good_line_keeps_its_name_and_its_body(name: str, extra: dict[str, object]) -> None:
    body = {**extra, "model": "some/model", "stream": False}
    request = read_request(line(name, body=body).encode(), CHAT)
    assert request.custom_id == name
    assert request.model == "some/model"
    assert json.loads(request.body) == body


@given(NAMES, st.data())
def test_a_torn_line_is_a_bad_line(name: str, data: st.DataObject) -> None:
    raw = line(name).encode()
    cut = data.draw(st.integers(1, len(raw) - 1))
    with pytest.raises(BadLine) as caught:
        read_request(raw[:cut], CHAT)
    assert caught.value.code == "invalid_json_line"


@pytest.mark.parametrize(
    ("changes", "code", "name"),
    [
        ({"custom_id": ""}, "invalid_custom_id", None),
        ({"custom_id": None}, "invalid_custom_id", None),
        ({"custom_id": 5}, "invalid_request", None),
        ({"custom_id": "x" * 513}, "invalid_custom_id", "x" * 513),
        ({"method": "GET"}, "invalid_method", "a"),
        ({"method": 5}, "invalid_request", "a"),
        ({"url": "/v1/embeddings"}, "mismatched_endpoint", "a"),
        ({"body": None}, "invalid_request", "a"),
        ({"body": [1]}, "invalid_request", "a"),
        ({"body": {"stream": True}}, "invalid_request", "a"),
        ({"body": {"model": 7}}, "invalid_request", "a"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], code: str, name: str | None) -> None:
    with pytest.raises(BadLine) as caught:
        read_request(line("a", **changes).encode(), CHAT)
    assert (caught.value.code, caught.value.custom_id) == (code, name)


def test_a_line_without_a_body_is_told_so() -> None:
    with pytest.raises(BadLine) as caught:
        read_request(b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions"}', CHAT)
    assert caught.value.code == "missing_body"


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=12))
def test_lines_of_a_file_keep_their_numbers(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"\r\n".join(parts))
    found = list(read_lines(path))
    assert [one.raw for one in found] == [
        kept for kept in (_without_bom(i, p).strip() for i, p in enumerate(parts)) if kept
    ]
    assert all(parts[one.number - 1].strip().endswith(one.raw) for one in found)


def _without_bom(index: int, part: bytes) -> bytes:
    return part.removeprefix(b"\xef\xbb\xbf") if index == 0 else part


def test_a_line_without_end_is_cut_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 100)
    path = tmp_path / "long"
    path.write_bytes(b'{"a": "' + b"x" * 1000 + b'"}\n' + b"second\n")
    first, second = read_lines(path)
    assert len(first.raw) == 100
    assert (second.number, second.raw) == (2, b"second")
    with pytest.raises(BadLine):
        read_request(first.raw, CHAT)
