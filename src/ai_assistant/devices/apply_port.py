"""The writable side of a machine: the one door through which settings of the system change."""

import os
from pathlib import Path
from typing import Protocol

from ai_assistant.devices.source import Source, ThisMachine

NVML = "nvml:"
"""`nvml:0/power_limit` names a card's setting as if it were a file; its value is in watts."""


class Machine(Source, Protocol):
    """A source whose settings can be written."""

    def write(self, path: str, value: str) -> None:
        """Put `value` there, as root would. Raises `OSError`."""
        ...


class WritableMachine(ThisMachine):
    """The machine that this process runs on."""

    def read(self, path: str) -> str | None:
        """Also what a card's driver is set to."""
        if not path.startswith(NVML):
            return super().read(path)
        index = _card(path)
        limits = {card.index: card.power_limit for card in self.cards()}
        watts = limits.get(index)
        return None if watts is None else f"{watts:g}"

    def write(self, path: str, value: str) -> None:
        """Never makes a file: a setting that is not there is not ours to make."""
        if path.startswith(NVML):
            from ai_assistant.devices.nvml import set_power_limit

            set_power_limit(_card(path), float(value))
            return
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC), "wb", buffering=0) as file:
            file.write(value.encode() + b"\n")


class Rooted(WritableMachine):
    """The same below a folder, as if that were `/`: containers' hosts and tests."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = str(root).rstrip("/")

    def read(self, path: str) -> str | None:
        """Of the file below the folder."""
        return super().read(path if path.startswith(NVML) else self._root + path)

    def find(self, pattern: str) -> tuple[str, ...]:
        """Paths as they are called inside."""
        return tuple(path.removeprefix(self._root) for path in super().find(self._root + pattern))

    def target(self, path: str) -> str | None:
        """Inside as well."""
        found = super().target(self._root + path)
        return found.removeprefix(self._root) if found else None

    def run(self, *command: str) -> str | None:
        """Programs would tell of the machine outside."""
        return None

    def cards(self) -> tuple[()]:
        """The same."""
        return ()

    def write(self, path: str, value: str) -> None:
        """Into the file below the folder."""
        super().write(path if path.startswith(NVML) else self._root + path, value)


def _card(path: str) -> int:
    return int(path.removeprefix(NVML).partition("/")[0])
