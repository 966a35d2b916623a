"""A recorded machine whose sensors move and whose settings can be written."""

from pathlib import Path

from msgspec import structs

from ai_assistant.devices.recording import Recording
from ai_assistant.devices.source import NvidiaCard


class LiveMachine(Recording):
    """What is in `now` stands before what was recorded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.now: dict[str, str] = {}
        self.card_now: dict[int, dict[str, float]] = {}
        self.refuse = False
        self.written: list[tuple[str, str]] = []

    @classmethod
    def of(cls, file: Path, *more: str) -> "LiveMachine":
        """From a file, with further lines."""
        return cls("\n".join([file.read_text(encoding="utf-8"), *more]))

    def read(self, path: str) -> str | None:
        """As it is now."""
        if path.startswith("nvml:"):
            index = int(path.removeprefix("nvml:").partition("/")[0])
            return f"{self.cards()[index].power_limit:g}"
        return self.now.get(path, super().read(path))

    def cards(self) -> tuple[NvidiaCard, ...]:
        """As they are now."""
        return tuple(
            structs.replace(card, **self.card_now.get(card.index, {})) for card in super().cards()
        )

    def write(self, path: str, value: str) -> None:
        """As root would."""
        if self.refuse:
            raise PermissionError(13, "Permission denied", path)
        self.written.append((path, value))
        if path.startswith("nvml:"):
            index = int(path.removeprefix("nvml:").partition("/")[0])
            self.card_now.setdefault(index, {})["power_limit"] = float(value)
        else:
            self.now[path] = value
