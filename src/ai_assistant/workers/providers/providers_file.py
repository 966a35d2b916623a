"""`providers.toml` in the folder of the settings: read as a whole, written whole or not at all."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from ai_assistant.protocol.errors import InvalidRequest, Unavailable
from ai_assistant.protocol.files import write_whole
from ai_assistant.workers.providers.provider import Provider, check

FILE = "providers.toml"
_HEAD = "Providers: other servers that may answer. Keys are not here, only where they are."


class ProvidersUnreadable(Unavailable):
    """The file cannot be used as it is."""

    code = "providers_unreadable"
    elsewhere = False


def read_providers(path: Path) -> dict[str, Provider]:
    """All providers by name; raises `ProvidersUnreadable`, which names the field at fault."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        found = msgspec.convert(tree, dict[str, Provider])
        for name, provider in found.items():
            check(name, provider)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProvidersUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProvidersUnreadable(f"{path} is not valid TOML: {error}.") from None
    except msgspec.ValidationError as error:
        raise ProvidersUnreadable(f"{path} is wrong: {error}.") from None
    except InvalidRequest as error:
        raise ProvidersUnreadable(f"{path} is wrong: {error.message}") from None
    return found


def put_provider(path: Path, name: str, provider: Provider) -> None:
    """Add or replace one; the owner's remarks on the others stay.

    Raises `InvalidRequest` or `ProvidersUnreadable` and leaves the file as it was.
    """
    put_providers(path, {name: provider})


def put_providers(path: Path, providers: Mapping[str, Provider]) -> None:
    """The same for several at once."""
    for name, provider in providers.items():
        check(name, provider)
    read_providers(path)  # a file that is wrong is not made longer
    document = _document(path)
    for name, provider in providers.items():
        document[name] = msgspec.to_builtins(provider)
    _write(path, document)


def remove_provider(path: Path, name: str) -> Provider | None:
    """Take one out; None: it was not there."""
    known = read_providers(path)
    if name not in known:
        return None
    document = _document(path)
    document.remove(name)
    _write(path, document)
    return known[name]


def _document(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = tomlkit.document()
        document.add(tomlkit.comment(_HEAD))
        return document
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise ProvidersUnreadable(f"{path} cannot be changed: {error}.") from None


def _write(path: Path, document: tomlkit.TOMLDocument) -> None:
    text: Any = tomlkit.dumps(document)  # pyright: ignore[reportUnknownMemberType]
    write_whole(path, str(text).encode())
