"""A conversation: what was said, with which model and how; kept in and read from a file."""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from ai_assistant.cli.errors import CommandError

OPTIONS: dict[str, type[int] | type[float]] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "max_tokens": int,
    "seed": int,
    "presence_penalty": float,
    "frequency_penalty": float,
}


class Turn(msgspec.Struct, frozen=True):
    """What one side said."""

    role: Literal["user", "assistant"]
    content: str


class Talk(msgspec.Struct, kw_only=True):
    """The state of one chat."""

    model: str | None = None
    system: str | None = None
    options: dict[str, int | float] = {}
    turns: list[Turn] = []

    def request(self) -> dict[str, Any]:
        """The body of the next question."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        said = [{"role": turn.role, "content": turn.content} for turn in self.turns]
        model = {"model": self.model} if self.model else {}
        return {**model, **self.options, "priority": "interactive", "messages": [*head, *said]}

    def say(self, role: Literal["user", "assistant"], content: str) -> None:
        """Add a turn."""
        self.turns.append(Turn(role, content))

    def take_back(self, role: Literal["user", "assistant"]) -> str | None:
        """Remove the last turn if it is that side's."""
        if self.turns and self.turns[-1].role == role:
            return self.turns.pop().content
        return None

    def set_option(self, name: str, text: str) -> None:
        """Set one sampling option from its text; `default` leaves it to the model."""
        if name not in OPTIONS:
            raise CommandError(f"There is no option {name}.", f"Options: {', '.join(OPTIONS)}")
        if text == "default":
            self.options.pop(name, None)
            return
        try:
            self.options[name] = OPTIONS[name](text)
        except ValueError as error:
            kind = "a whole number" if OPTIONS[name] is int else "a number"
            raise CommandError(f"{name} must be {kind}, or `default`.") from error

    def save(self, path: Path) -> None:
        """Write to a file that only its owner can read."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self)) + b"\n")


def load_talk(path: Path) -> Talk:
    """A saved conversation; raises `CommandError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Talk)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise CommandError(
            f"{path} is not a saved chat: {error}.", "Load a file that /save wrote."
        ) from error
