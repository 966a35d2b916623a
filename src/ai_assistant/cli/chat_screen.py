"""What the chat writes: streamed text as it comes, never drawn again."""

import sys

import click

from ai_assistant.cli.client import Delta
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.output import printable
from ai_assistant.cli.waiting import WaitingLine


class Screen:
    """Standard output. Remarks are dimmed on a terminal and go to standard error elsewhere."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self.waiting = WaitingLine()
        self._column_open = False
        self._thinking = False

    def piece(self, piece: Delta) -> None:
        """The next piece of the answer; its reasoning dimmed."""
        if piece.reasoning and self.terminal:
            self._write(click.style(printable(piece.reasoning), dim=True))
            self._thinking = True
        if piece.text:
            if self._thinking:
                self._write("\n\n")
                self._thinking = False
            self._write(printable(piece.text) if self.terminal else piece.text)

    def end(self) -> None:
        """The answer is over, whole or not."""
        self.waiting(None)
        if self._column_open:
            click.echo()
        self._column_open = self._thinking = False

    def line(self, text: str = "") -> None:
        """What the user asked to see."""
        click.echo(printable(text) if self.terminal else text)

    def remark(self, text: str) -> None:
        """What the user should know."""
        click.echo(click.style(text, dim=True), err=not self.terminal)

    def error(self, error: CommandError) -> None:
        """What went wrong and what to do."""
        error.show()

    def _write(self, text: str) -> None:
        click.echo(text, nl=False)
        sys.stdout.flush()
        self._column_open = True
