"""Forms with a file: in whatever pieces they come, and whatever stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.gateway.uploads import UploadForm, safe_name
from ai_assistant.protocol.errors import InvalidRequest

KIND = "multipart/form-data; boundary=frontier"


def form(content: bytes, **fields: str) -> bytes:
    parts = [
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n'
        b"Content-Type: application/jsonl\r\n\r\n"
    )
    return b"".join([*parts, head, content, b"\r\n--frontier--\r\n"])


@given(st.binary(max_size=400), st.lists(st.integers(1, 60), max_size=40))
def test_the_file_is_the_same_in_whatever_pieces_it_comes(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b"--frontier", b"")
    body, found, at = form(content, purpose="batch"), b"", 0
    reader = UploadForm(KIND)
    for cut in [*cuts, len(body)]:
        found += reader.feed(body[at : at + cut])
        at += cut
    reader.end()
    assert (found, reader.filename, reader.fields) == (content, "in.jsonl", {"purpose": "batch"})


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_an_invalid_form(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(b"--frontier" + body)


def read(body: bytes) -> None:
    reader = UploadForm(KIND)
    reader.feed(body)
    reader.end()


@given(st.data())
def test_a_form_that_is_cut_off_is_never_whole(data: st.DataObject) -> None:
    body = form(b"some content", purpose="batch")
    reader = UploadForm(KIND)
    reader.feed(body[: data.draw(st.integers(0, len(body) - len("--\r\n") - 1))])
    with pytest.raises(InvalidRequest):
        reader.end()


@pytest.mark.parametrize("kind", [None, "", "application/json", "multipart/form-data", "x; b=\x00"])
def test_another_kind_of_body_is_refused(kind: str | None) -> None:
    with pytest.raises(InvalidRequest, match="multipart/form-data"):
        UploadForm(kind)


def test_a_form_cannot_fill_the_memory() -> None:
    reader = UploadForm(KIND)
    with pytest.raises(InvalidRequest, match="too long"):
        reader.feed(form(b"", purpose="x" * 10_000))
    reader = UploadForm(KIND)
    with pytest.raises(InvalidRequest, match="more than 32 fields"):
        reader.feed(form(b"", **{f"field{i}": "x" for i in range(40)}))


def test_only_one_file() -> None:
    twice = form(b"one").removesuffix(b"--frontier--\r\n") + form(b"two")
    with pytest.raises(InvalidRequest, match="only one file"):
        UploadForm(KIND).feed(twice)


@given(st.text(max_size=300))
def test_a_name_leads_nowhere_and_moves_no_cursor(given_name: str) -> None:
    name = safe_name(given_name)
    assert name
    assert len(name) <= 255
    assert name.isprintable()
    assert not set(name) & set("/\\")
    assert not name.startswith(".")


def test_a_boundary_that_no_form_has_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="malformed"):
        UploadForm(f"multipart/form-data; boundary={'x' * 5000}")
