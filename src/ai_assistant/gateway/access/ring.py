"""Whose secret is this? The keys of the settings and those of the file, which may change."""

import time
from collections.abc import Iterable

from ai_assistant.gateway.key_names import check_names, difference
from ai_assistant.gateway.keys import Caller, caller_of_key, read_key, secret_of
from ai_assistant.protocol.errors import AccessDenied
from ai_assistant.store.keys import NO_LIMITS, Limits, StoredKey, Who, digest_of
from ai_assistant.store.keys_file import KeysFile

_NEEDED = "A valid API key is required: send it as `Authorization: Bearer KEY`."


class KeyRing:
    """All keys that are known now, by the hashes of their secrets.

    A hash of 32 random bytes is looked up in a table: what the time tells of the table tells
    nobody a secret.
    """

    def __init__(self, lines: Iterable[str], file: KeysFile | None = None) -> None:
        """`lines` as in the settings; raises `InvalidRequest` for one that is wrong, or for two
        of which nobody can tell which is meant."""
        lines = tuple(lines)
        check_names(lines)
        self._file = file or KeysFile(None)
        self._given = {digest_of(secret_of(line).encode()): read_key(line) for line in lines}
        self._stored: dict[str, tuple[StoredKey, float | None]] = {}
        self._callers: dict[str, Caller] = {}
        self._demanded = bool(self._given)
        self._take_stored()

    @property
    def demanded(self) -> bool:
        """Nobody comes in without a key. The last one taken away opens nothing until a restart."""
        if self._file.changed():
            self._take_stored()
        return self._demanded

    @property
    def tenants(self) -> int:
        """How many there are."""
        return len({caller.tenant for caller in self._given.values()} | set(self._callers))

    def caller(self, secret: bytes) -> Caller:
        """Who that is; raises `AccessDenied`, which says what is wrong."""
        digest = digest_of(secret)
        if found := self._stored.get(digest):
            return self._of_stored(*found)
        given = self._given.get(digest)
        if given is None:
            raise AccessDenied(_NEEDED)
        _refuse_expired(given.expires)
        return given

    def current(self, caller: Caller) -> Caller:
        """What has become of a caller that was let in earlier; raises `AccessDenied`."""
        if self._file.changed():
            self._take_stored()
        now = self._callers.get(caller.name) if caller.stored else self._given_now(caller)
        if now is None:
            raise AccessDenied("The API key that this was sent with is gone or switched off.")
        _refuse_expired(now.expires)
        return self._sole(now) if now.stored else now

    def _given_now(self, caller: Caller) -> Caller | None:
        """The line of the settings that it came with, as it reads today.

        Lines of one name are told apart by what they allow; nothing of a secret is kept with jobs.
        """
        if not caller.tenant:
            return caller  # It came when nobody needed a key.
        lines = [one for one in self._given.values() if one.tenant == caller.tenant]
        if len(lines) > 1 and not any(_same(one, caller) for one in lines):
            raise AccessDenied(
                f"The keys named {caller.name} have changed since this was sent, and nobody can "
                "tell which of them it was: send it again."
            )
        return next((one for one in lines if _same(one, caller)), next(iter(lines), None))

    def group_limits(self, kind: Who, name: str) -> Limits:
        """What all keys of a user or a team may have together."""
        group = self._file.book.group(kind, name)
        return group.limits if group else NO_LIMITS

    def _of_stored(self, key: StoredKey, until: float | None) -> Caller:
        if not key.enabled:
            raise AccessDenied("This API key is switched off; ask whoever runs this node.")
        if until is not None and time.time() >= until:
            raise AccessDenied("This API key was replaced by a newer one; use that one.")
        _refuse_expired(key.expires)
        return self._sole(self._callers[key.name])

    def _sole(self, stored: Caller) -> Caller:
        """The same, unless a line of the settings has its account and is counted differently."""
        for one in self._given.values():
            if one.tenant == stored.tenant and (differs := difference(one, stored)):
                raise AccessDenied(
                    f"There is another key named {stored.name} in the settings of this node, and "
                    f"they differ in {differs}: whoever runs the node must rename one of them."
                )
        return stored

    def _take_stored(self) -> None:
        keys = self._file.book.keys
        self._callers = {key.name: caller_of_key(key) for key in keys if key.enabled}
        self._stored = {one.sha256: (key, one.until) for key in keys for one in key.secrets}
        self._demanded = self._demanded or bool(keys)


def _same(one: Caller, sent: Caller) -> bool:
    """`sent` may know more than a caller."""
    return all(getattr(one, name) == getattr(sent, name) for name in Caller.__struct_fields__)


def _refuse_expired(expires: float | None) -> None:
    if expires is not None and time.time() >= expires:
        day = time.strftime("%Y-%m-%d", time.gmtime(expires))
        raise AccessDenied(f"This API key expired on {day}; ask whoever runs this node for one.")
