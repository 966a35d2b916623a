"""System prompts that every model computes before it is ready: `pins.json` in the cache folder."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ai_assistant.protocol.engine_plan import Pin
from ai_assistant.protocol.errors import InvalidRequest, Unavailable
from ai_assistant.protocol.files import write_whole

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_FILE = "pins.json"


class PinsUnreadable(Unavailable):
    """The file is not what was written."""

    code = "pins_unreadable"


def read_pins(folder: Path) -> tuple[Pin, ...]:
    """All pins, by name; raises `PinsUnreadable`."""
    path = folder / _FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=tuple[Pin, ...])
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PinsUnreadable(f"The pins in {path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PinsUnreadable(
            f"The pins in {path} are damaged ({error}): mend the file or delete it."
        ) from error
    return _sorted(found)


def write_pins(folder: Path, pins: Iterable[Pin]) -> None:
    """Put these in the place of all others; raises `InvalidRequest` for a name that cannot be.

    Raises `OSError` and leaves the old ones.
    """
    chosen = _sorted(pins)
    for pin in chosen:
        if NAME.fullmatch(pin.name) is None:
            raise InvalidRequest(
                f"A pin cannot be named {pin.name!r}: use a to z, 0 to 9 and hyphens."
            )
    write_whole(folder / _FILE, msgspec.json.format(msgspec.json.encode(chosen)) + b"\n")


def _sorted(pins: Iterable[Pin]) -> tuple[Pin, ...]:
    return tuple(sorted(pins, key=lambda pin: pin.name))
