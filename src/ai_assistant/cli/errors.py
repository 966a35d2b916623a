"""How a command fails: one line what happened, one line what to do next."""

import sys
from typing import IO, Any

import click

from ai_assistant.config.loading import ConfigError
from ai_assistant.protocol.errors import AssistantError


class CommandError(click.ClickException):
    """Ends the command with exit code 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print both lines to standard error."""
        stream = file or sys.stderr
        click.echo(f"{click.style('Error:', fg='red')} {self.message}", file=stream)
        if self.hint:
            click.echo(f"{click.style('Next: ', fg='cyan')} {self.hint}", file=stream)


class WrongUse(CommandError):
    """The flags or settings must change."""

    exit_code = 2


class NodeUnreachable(CommandError):
    """Nothing answers at the node's address."""

    exit_code = 3


class NodeRefused(CommandError):
    """The node answered with an error; `code` is its stable name."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: str = "",
        retry_after: float | None = None,
        progress: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.retry_after = retry_after
        self.progress = progress


def from_config(error: ConfigError) -> CommandError:
    """Settings that cannot be used are the caller's to mend."""
    hint = "Change it where it came from; `ai-assistant config show` lists every key."
    return WrongUse("\n       ".join(error.problems), hint)


def from_assistant(error: AssistantError) -> CommandError:
    """The node's own words; its messages already say what to do next."""
    return CommandError(error.message)
