"""Where providers' keys are: the environment, the system's key store, a file. Never in settings."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ai_assistant.protocol.errors import AssistantError, InvalidRequest
from ai_assistant.workers.remote.secret import Secret

SERVICE = "ai-assistant"
"""Under which the key store files our keys."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class KeyNotFound(AssistantError):
    """The settings say where the key is, and there is none."""

    code = "provider_key_missing"


class NoKeyStore(AssistantError):
    """This system has no key store that we can use."""

    code = "no_key_store"


def check_source(name: str, source: str) -> None:
    """Raise `InvalidRequest` if `source` is not a place for keys; its words do not repeat it."""
    place, _, rest = source.partition(":")
    if source in ("", "keyring") or (place == "file" and rest):
        return
    if place == "env" and _VARIABLE.fullmatch(rest):
        return
    raise InvalidRequest(
        f"{name}.key says where the key is and is never the key itself: "
        '"env:NAME", "keyring" or "file:PATH".'
    )


def find_key(name: str, source: str, environ: Mapping[str, str], folder: Path) -> Secret:
    """The key of provider `name`; an empty one if none is needed.

    Relative paths start from `folder`. Raises `KeyNotFound` or `NoKeyStore`.
    """
    place, _, rest = source.partition(":")
    match place:
        case "":
            return Secret("")
        case "env":
            return _checked(name, environ.get(rest, ""), f"the variable {rest} is not set")
        case "file":
            return _from_file(name, folder / Path(rest).expanduser())
        case _:
            return _checked(name, _stored(name) or "", "the key store has none under that name")


def store_key(name: str, key: Secret) -> None:
    """Put the key into the system's key store; raises `NoKeyStore`."""
    keyring = _keyring()
    try:
        keyring.set_password(SERVICE, name, key.reveal())
    except Exception as error:  # noqa: BLE001 - every key store has its own
        raise _no_store(error) from None


def forget_key(name: str) -> None:
    """Take the key out of the key store, if it is there."""
    try:
        if _stored(name) is not None:
            _keyring().delete_password(SERVICE, name)
    except NoKeyStore:
        return
    except Exception as error:  # noqa: BLE001 - every key store has its own
        raise _no_store(error) from None


def _stored(name: str) -> str | None:
    try:
        return _keyring().get_password(SERVICE, name)
    except Exception as error:  # noqa: BLE001 - every key store has its own
        raise _no_store(error) from None


def _keyring():
    """The library, imported when it is needed: it looks for key stores and takes a moment."""
    import keyring

    return keyring


def _no_store(error: Exception) -> NoKeyStore:
    return NoKeyStore(
        f"The system's key store cannot be used ({type(error).__name__}). Put the key into a "
        "variable and name it with --key-env, or into a file and name that with --key-file."
    )


def _from_file(name: str, path: Path) -> Secret:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyNotFound(f"The key of {name} cannot be read from {path}: {reason}.") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyNotFound(f"Other users can read the key of {name}: chmod 600 {path}")
    return _checked(name, text, f"{path} is empty")


def _checked(name: str, key: str, problem: str) -> Secret:
    key = key.strip()
    if not key:
        raise KeyNotFound(f"There is no key for {name}: {problem}.")
    if not key.isascii() or any(character <= " " for character in key):
        raise KeyNotFound(f"The key of {name} holds a character that keys do not have.")
    return Secret(key)
