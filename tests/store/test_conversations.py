"""The conversation store: what it keeps, and what it does when the disk is unkind."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ai_assistant.protocol.errors import InvalidRequest, NotFound, Unavailable
from ai_assistant.store.conversations import Conversation, Conversations, Message
from ai_assistant.store.conversations_file import (
    MIGRATIONS,
    ConversationsDamaged,
    ConversationsLocked,
    ConversationsTooNew,
    ConversationsUnavailable,
    DiskFull,
)


@pytest.fixture
def store(tmp_path: Path):
    store = Conversations(tmp_path)
    yield store
    store.check_integrity()
    store.close()


def user(text: str, id: str = "") -> Message:
    return Message(id=id, role="user", content=text)


def answer(text: str, id: str = "") -> Message:
    return Message(id=id, role="assistant", content=text, model="starter")


def texts(store: Conversations, id: str) -> list[str]:
    return [message.content for message in store.get("local", id).messages]


def test_messages_come_back_as_they_were_saved(store: Conversations):
    talk = store.create("local", title="Boats", model="starter", settings={"temperature": 0.5})
    saved = store.save_message(
        "local",
        talk.id,
        Message(
            role="assistant",
            content="hi",
            reasoning="hm",
            tool_calls=[{"id": "1", "name": "f", "arguments": "{}"}],
            model="starter",
            state="stopped",
            details={"usage": {"completion_tokens": 3}},
        ),
    )
    found = store.get("local", talk.id)
    assert found.messages == (saved,)
    assert (found.title, found.model, found.settings) == ("Boats", "starter", {"temperature": 0.5})


def test_list_is_newest_first_and_counts_messages(store: Conversations):
    first, second = store.create("local", title="a"), store.create("local", title="b")
    store.save_message("local", first.id, user("x"))
    assert [(line.id, line.messages) for line in store.list("local")] == [
        (first.id, 1),
        (second.id, 0),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [("boat", True), ("BOAT", True), ("灯塔", True), ("100%", True), ("1__", False), ("x", False)],
)
def test_search_looks_in_titles_and_texts(store: Conversations, query: str, found: bool):
    talk = store.create("local", title="Boats")
    store.save_message("local", talk.id, user("灯塔 100% \\"))
    assert bool(store.list("local", query)) is found


def test_the_same_id_renews_the_message_in_place(store: Conversations):
    talk = store.create("local")
    store.save_message("local", talk.id, answer("par", "m1"))
    store.save_message("local", talk.id, user("next"))
    store.save_message("local", talk.id, answer("partial", "m1"))
    assert texts(store, talk.id) == ["partial", "next"]


def test_an_edited_message_takes_the_place_of_all_that_followed(store: Conversations):
    talk = store.create("local")
    for message in (user("a", "1"), answer("b", "2"), user("c", "3"), answer("d", "4")):
        store.save_message("local", talk.id, message)
    store.save_message("local", talk.id, user("c2"), replaces="3")
    assert texts(store, talk.id) == ["a", "b", "c2"]


def test_replace_last_wants_an_answer(store: Conversations):
    talk = store.create("local")
    store.save_message("local", talk.id, user("a"))
    with pytest.raises(InvalidRequest):
        store.replace_last("local", talk.id, answer("b"))
    store.save_message("local", talk.id, answer("b"))
    store.replace_last("local", talk.id, answer("c"))
    assert texts(store, talk.id) == ["a", "c"]


def test_update_changes_only_what_is_given(store: Conversations):
    talk = store.create("local", title="old", model="m")
    store.update("local", talk.id, title="new")
    found = store.get("local", talk.id)
    assert (found.title, found.model) == ("new", "m")


def test_a_deleted_conversation_can_be_put_back(store: Conversations):
    talk = store.create("local", title="keep me")
    store.save_message("local", talk.id, user("secret words"))
    whole = store.get("local", talk.id)
    store.delete("local", talk.id)
    assert store.list("local") == ()
    assert store.put("local", whole) == whole


def test_deleted_text_is_gone_from_the_file(store: Conversations, tmp_path: Path):
    talk = store.create("local")
    store.save_message("local", talk.id, user("xyzzy-secret"))
    store.delete("local", talk.id)
    store.close()
    assert all(b"xyzzy-secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_export_gives_what_put_takes(store: Conversations, tmp_path: Path):
    for title in ("a", "b"):
        store.save_message("local", store.create("local", title=title).id, user(title))
    other = Conversations(tmp_path / "other")
    for whole in store.export("local"):
        other.put("local", whole)
    assert list(other.export("local")) == list(store.export("local"))
    other.close()


def test_tenants_do_not_see_each_other(store: Conversations):
    talk = store.create("ann", title="hers")
    store.put("bob", Conversation(id=talk.id, title="his"))
    assert store.get("ann", talk.id).title == "hers"
    store.delete("bob", talk.id)
    assert store.get("ann", talk.id).title == "hers"
    assert store.list("bob") == ()


@pytest.mark.parametrize("call", ["get", "delete", "update", "save_message"])
def test_an_unknown_conversation_is_named(store: Conversations, call: str):
    arguments = (user("x"),) if call == "save_message" else ()
    with pytest.raises(NotFound, match="nowhere"):
        getattr(store, call)("local", "nowhere", *arguments)


def test_only_the_owner_can_read_the_files(store: Conversations, tmp_path: Path):
    store.create("local")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_threads_may_write_at_the_same_time(store: Conversations):
    talk = store.create("local")

    def write(name: str) -> None:
        for number in range(20):
            store.save_message("local", talk.id, user(f"{name}{number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(store, talk.id)) == 80


_WRITER = """
import sys
from pathlib import Path
from ai_assistant.store.conversations import Conversations, Message
store = Conversations(Path(sys.argv[1]))
talk = store.create("local")
for number in range(10_000):
    store.save_message("local", talk.id, Message(role="user", content=str(number)))
    print(number, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if line.strip() == "25":
                break
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = [25, *(int(line) for line in writer.stdout if line.endswith("\n"))][-1]
    store = Conversations(tmp_path)
    store.check_integrity()
    (line,) = store.list("local")
    assert line.messages >= acknowledged + 1
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "torn", "overwritten"])
def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(tmp_path: Path, damage: str):
    store = Conversations(tmp_path)
    talk = store.create("local", title="old")
    for number in range(50):
        store.save_message("local", talk.id, user("word " * 200 + str(number)))
    store.close()
    path = tmp_path / "conversations.db"
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {
            "garbage": b"not a database, " * 1000,
            "torn": whole[:half],
            "overwritten": whole[:4096] + b"\xff" * (len(whole) - 4096),
        }[damage]
    )
    assert store.list("local") == ()
    assert store.create("local", title="new").title == "new"
    (kept,) = tmp_path.glob("conversations.db.damaged-*")
    assert store.notice is not None
    assert str(kept) in store.notice
    store.check_integrity()
    store.close()


def test_damage_under_way_is_named_and_the_next_call_works(tmp_path: Path):
    store = Conversations(tmp_path)
    talk = store.create("local")
    for number in range(50):
        store.save_message("local", talk.id, user("word " * 2000 + str(number)))
    path = tmp_path / "conversations.db"
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    os.truncate(tmp_path / "conversations.db-wal", 0)

    def use() -> None:
        for _ in range(3):
            store.save_message("local", talk.id, user("x" * 100_000))
            store.get("local", talk.id)

    with pytest.raises(ConversationsDamaged):
        use()
    assert store.list("local") == ()
    store.close()


def test_a_locked_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ai_assistant.store.conversations_file.BUSY_SECONDS", 0.05)
    store = Conversations(tmp_path)
    store.create("local")
    other = sqlite3.connect(tmp_path / "conversations.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConversationsLocked) as caught:
        store.create("local")
    assert caught.value.retry_after == 1
    assert len(store.list("local")) == 1
    other.execute("ROLLBACK")
    other.close()
    store.create("local")
    store.close()


def test_a_full_disk_says_so_and_keeps_what_was_there(tmp_path: Path):
    store = Conversations(tmp_path)
    talk = store.create("local")
    store.save_message("local", talk.id, user("before"))
    with store._file.transaction("IMMEDIATE") as db:  # pyright: ignore[reportPrivateUsage]
        db.execute("COMMIT")
        db.execute("PRAGMA max_page_count=1")
        db.execute("BEGIN")
    with pytest.raises(DiskFull, match="free some space"):
        store.save_message("local", talk.id, user("x" * 100_000))
    assert texts(store, talk.id) == ["before"]
    store.close()


def test_a_folder_that_cannot_be_made_is_explained_and_may_come_later(tmp_path: Path):
    blocker = tmp_path / "data"
    blocker.write_text("a file where the folder should be")
    store = Conversations(blocker)
    with pytest.raises(ConversationsUnavailable, match="can be written"):
        store.list("local")
    blocker.unlink()
    assert store.list("local") == ()
    store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_explained(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConversationsUnavailable):
        Conversations(tmp_path).create("local")
    tmp_path.chmod(0o700)


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path):
    db = sqlite3.connect(tmp_path / "conversations.db")
    db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(ConversationsTooNew):
        Conversations(tmp_path).list("local")
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []


def test_every_disk_error_is_a_503():
    assert issubclass(ConversationsUnavailable, Unavailable)
