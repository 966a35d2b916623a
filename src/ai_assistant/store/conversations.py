"""Conversations in one SQLite file, for the console and `chat`.

Nothing is lost when the process is killed: every change is one committed transaction. The file
is opened at first use, so a disk that refuses costs the history and never the assistant.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from ai_assistant.protocol.errors import InvalidRequest, NotFound
from ai_assistant.store import conversations_file as file

SHOWN = 500
"""Conversations in one listing."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `state` marks an answer that is not whole."""

    id: str = ""
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = []
    model: str = ""
    state: Literal["done", "partial", "stopped", "failed"] = "done"
    details: dict[str, Any] = {}
    """Usage, timings, error: what the client wants to show again."""
    created_at: float = 0.0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation's line in the list."""

    id: str
    title: str
    model: str
    updated_at: float
    messages: int


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with all its messages, oldest first."""

    id: str = ""
    title: str = ""
    model: str = ""
    settings: dict[str, Any] = {}
    created_at: float = 0.0
    updated_at: float = 0.0
    messages: tuple[Message, ...] = ()


class Conversations:
    """The conversations of every tenant. Safe to call from any thread."""

    def __init__(self, data_dir: Path) -> None:
        self._file = file.ConversationsFile(data_dir)
        self._lock = threading.Lock()

    @property
    def notice(self) -> str | None:
        """What the owner should know: a damaged file was set aside."""
        return self._file.notice

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        with self._lock:
            self._file.close()

    def list(self, tenant: str, query: str = "") -> tuple[Summary, ...]:
        """Newest first; with `query` those whose title or text holds it."""
        pattern = f"%{_escaped(query.strip())}%"
        with self._reading() as db:
            rows = db.execute(_LIST, (tenant, pattern, pattern, SHOWN)).fetchall()
        return tuple(
            Summary(id=row[0], title=row[1], model=row[2], updated_at=row[3], messages=row[4])
            for row in rows
        )

    def get(self, tenant: str, id: str) -> Conversation:
        """The whole conversation."""
        with self._reading() as db:
            return _read(db, tenant, id)

    def create(
        self,
        tenant: str,
        *,
        title: str = "",
        model: str = "",
        settings: dict[str, Any] | None = None,
    ) -> Conversation:
        """Begin an empty one."""
        return self.put(tenant, Conversation(title=title, model=model, settings=settings or {}))

    def put(self, tenant: str, conversation: Conversation) -> Conversation:
        """Store a whole conversation as it is, as an import or an undone deletion."""
        now = time.time()
        whole = msgspec.structs.replace(
            conversation,
            id=conversation.id or uuid.uuid4().hex,
            created_at=conversation.created_at or now,
            updated_at=conversation.updated_at or now,
        )
        with self._writing() as db:
            db.execute("DELETE FROM conversations WHERE tenant=? AND id=?", (tenant, whole.id))
            db.execute(
                "INSERT INTO conversations VALUES (?,?,?,?,?,?,?)",
                (tenant, whole.id, whole.title, whole.model, _json(whole.settings),
                 whole.created_at, whole.updated_at),
            )  # fmt: skip
            for message in whole.messages:
                _append(db, tenant, whole.id, _stamped(message))
            return _read(db, tenant, whole.id)

    def update(
        self,
        tenant: str,
        id: str,
        *,
        title: str | None = None,
        model: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Change what is given; the conversation keeps its place in the list."""
        with self._writing() as db:
            changed = db.execute(
                "UPDATE conversations SET title=ifnull(?,title), model=ifnull(?,model),"
                " settings=ifnull(?,settings) WHERE tenant=? AND id=?",
                (title, model, None if settings is None else _json(settings), tenant, id),
            ).rowcount
            if not changed:
                raise _unknown(id)

    def save_message(
        self, tenant: str, id: str, message: Message, *, replaces: str | None = None
    ) -> Message:
        """Append a message, or renew the one of the same id where it stands.

        `replaces` names a message that makes room first, with all that follow it.
        """
        message = _stamped(message)
        with self._writing() as db:
            _touch(db, tenant, id)
            if replaces is not None:
                _cut(db, tenant, id, replaces)
            if not _renew(db, tenant, id, message):
                _append(db, tenant, id, message)
        return message

    def replace_last(self, tenant: str, id: str, message: Message) -> Message:
        """Put `message` in the place of the last answer."""
        message = _stamped(message)
        with self._writing() as db:
            _touch(db, tenant, id)
            last = db.execute(
                "SELECT id, role FROM messages WHERE tenant=? AND conversation=?"
                " ORDER BY position DESC LIMIT 1",
                (tenant, id),
            ).fetchone()
            if last is None or last[1] != "assistant":
                raise InvalidRequest("The last message is not an answer; append instead.")
            _cut(db, tenant, id, last[0])
            _append(db, tenant, id, message)
        return message

    def delete(self, tenant: str, id: str) -> None:
        """Forget it; the bytes in the file are overwritten."""
        with self._writing() as db:
            deleted = db.execute(
                "DELETE FROM conversations WHERE tenant=? AND id=?", (tenant, id)
            ).rowcount
        if not deleted:
            raise _unknown(id)

    def export(self, tenant: str) -> Iterator[Conversation]:
        """Every conversation, newest first; each can be given to `put`."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT id FROM conversations WHERE tenant=? ORDER BY updated_at DESC", (tenant,)
            ).fetchall()
        for (id,) in rows:
            try:
                yield self.get(tenant, id)
            except NotFound:  # deleted meanwhile
                continue

    def check_integrity(self) -> None:
        """Raise `AssertionError` if the file's structure or its references are broken."""
        with self._reading() as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._file.transaction("DEFERRED") as db:
            yield db

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._file.transaction("IMMEDIATE") as db:
            yield db


_LIST = """
SELECT c.id, c.title, c.model, c.updated_at,
       (SELECT count(*) FROM messages m WHERE m.tenant = c.tenant AND m.conversation = c.id)
FROM conversations c
WHERE c.tenant = ? AND (c.title LIKE ? ESCAPE '\\' OR EXISTS (
    SELECT 1 FROM messages m WHERE m.tenant = c.tenant AND m.conversation = c.id
    AND m.content LIKE ? ESCAPE '\\'))
ORDER BY c.updated_at DESC, c.id LIMIT ?
"""
_COLUMNS = "id, role, content, reasoning, tool_calls, model, state, details, created_at"


def _read(db: sqlite3.Connection, tenant: str, id: str) -> Conversation:
    row = db.execute(
        "SELECT title, model, settings, created_at, updated_at FROM conversations"
        " WHERE tenant=? AND id=?",
        (tenant, id),
    ).fetchone()
    if row is None:
        raise _unknown(id)
    messages = db.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE tenant=? AND conversation=? ORDER BY position",
        (tenant, id),
    )
    return Conversation(
        id=id,
        title=row[0],
        model=row[1],
        settings=msgspec.json.decode(row[2]),
        created_at=row[3],
        updated_at=row[4],
        messages=tuple(_message(values) for values in messages),
    )


def _message(row: tuple[Any, ...]) -> Message:
    fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("tool_calls", "details"):
        fields[name] = msgspec.json.decode(fields[name])
    return Message(**fields)


def _values(message: Message) -> tuple[Any, ...]:
    return (
        message.role, message.content, message.reasoning, _json(message.tool_calls),
        message.model, message.state, _json(message.details), message.created_at,
    )  # fmt: skip


def _append(db: sqlite3.Connection, tenant: str, id: str, message: Message) -> None:
    db.execute(
        f"INSERT INTO messages (tenant, conversation, position, {_COLUMNS})"
        " SELECT ?1, ?2, ifnull(max(position), 0) + 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11"
        " FROM messages WHERE tenant=?1 AND conversation=?2",
        (tenant, id, message.id, *_values(message)),
    )


def _renew(db: sqlite3.Connection, tenant: str, id: str, message: Message) -> bool:
    return bool(
        db.execute(
            "UPDATE messages SET role=?, content=?, reasoning=?, tool_calls=?, model=?, state=?,"
            " details=?, created_at=? WHERE tenant=? AND conversation=? AND id=?",
            (*_values(message), tenant, id, message.id),
        ).rowcount
    )


def _cut(db: sqlite3.Connection, tenant: str, id: str, message_id: str) -> None:
    db.execute(
        "DELETE FROM messages WHERE tenant=?1 AND conversation=?2 AND position >= (SELECT position"
        " FROM messages WHERE tenant=?1 AND conversation=?2 AND id=?3)",
        (tenant, id, message_id),
    )


def _touch(db: sqlite3.Connection, tenant: str, id: str) -> None:
    found = db.execute(
        "UPDATE conversations SET updated_at=? WHERE tenant=? AND id=?", (time.time(), tenant, id)
    ).rowcount
    if not found:
        raise _unknown(id)


def _stamped(message: Message) -> Message:
    return msgspec.structs.replace(
        message,
        id=message.id or uuid.uuid4().hex,
        created_at=message.created_at or time.time(),
    )


def _unknown(id: str) -> NotFound:
    return NotFound(f"There is no conversation {id!r}; it may have been deleted.")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
