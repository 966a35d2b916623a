"""`keys.json`: whole or not at all, whoever writes at once; what cannot be read says so."""

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.protocol.errors import InvalidRequest
from ai_assistant.store.key_usage import Changes, Held, KeyUsage, Used, read_usage
from ai_assistant.store.keys import KeyBook, StoredKey, digest_of, make_secret
from ai_assistant.store.keys_file import BadKeys, KeysFile, change_keys, read_keys


def key(name: str) -> StoredKey:
    return StoredKey(name=name, secrets=(make_secret()[1],), created=0.0)


def test_what_many_write_at_once_is_all_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    def add(name: str) -> None:
        change_keys(path, lambda book: book.with_key(key(name)))

    threads = [threading.Thread(target=add, args=(f"n{i}",)) for i in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {one.name for one in read_keys(path).keys} == {f"n{i}" for i in range(20)}
    assert [one.name for one in tmp_path.iterdir()] == ["keys.json"]
    assert os.name != "posix" or path.stat().st_mode & 0o77 == 0


def test_a_lock_that_a_dead_program_left_is_taken(tmp_path: Path) -> None:
    lock = tmp_path / ".keys.json.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    change_keys(tmp_path / "keys.json", lambda book: book.with_key(key("a")))
    assert len(read_keys(tmp_path / "keys.json").keys) == 1


def test_a_change_that_fails_leaves_the_old_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    change_keys(path, lambda book: book.with_key(key("a")))
    before = path.read_bytes()

    def fail(_: KeyBook) -> KeyBook:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        change_keys(path, fail)
    assert path.read_bytes() == before


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(data)
    try:
        assert isinstance(read_keys(path), KeyBook)
    except BadKeys as error:
        said = error.message
    else:
        return
    assert str(path) in said


def test_a_file_that_breaks_while_it_is_used_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    change_keys(path, lambda book: book.with_key(key("a")))
    file = KeysFile(path)
    path.write_text("{")
    time.sleep(0.3)
    assert not file.changed()
    assert str(path) in file.problem
    assert [one.name for one in file.book.keys] == ["a"]


def test_a_secret_is_long_and_kept_as_its_hash() -> None:
    text, secret = make_secret()
    assert len(text) > 40
    assert secret.sha256 == digest_of(text.encode())
    assert text != make_secret()[0]


def test_what_two_nodes_count_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    one, two = KeyUsage(path, "one"), KeyUsage(path, "two")
    for file in (one, two, one):
        file.write(
            Changes(used=(Used(account="key:a", day="2026-11-22", requests=2, dollars=0.5),))
        )
    one.write(Changes(held=(Held(account="key:a", day="2026-11-22", dollars=3.0),)))
    one.close()
    two.close()
    (day,) = read_usage(path, "2026-11-01")
    assert (day.requests, day.dollars) == (6, 1.5)
    KeyUsage(path, "three").close()
    (day,) = read_usage(path, "2026-11-01")
    assert day.dollars == 4.5, "what nobody settled counts as spent"
