"""What stands on the terminal while a model loads: one line on standard error, then nothing."""

import sys

import click

from ai_assistant.cli.client import Waiting


class WaitingLine:
    """Shown on a terminal only; a script's standard error stays clean but for one line."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __call__(self, waiting: Waiting | None) -> None:
        """Draw, redraw or take away the line."""
        if waiting is None:
            self._clear()
        elif self._terminal:
            click.echo(f"\r\x1b[2K{click.style(_line(waiting), dim=True)}", nl=False, err=True)
            self._shown = True
        elif not self._shown:
            click.echo(_line(waiting), err=True)
            self._shown = True

    def _clear(self) -> None:
        if self._shown and self._terminal:
            click.echo("\r\x1b[2K", nl=False, err=True)
        self._shown = False


def _line(waiting: Waiting) -> str:
    done = "" if waiting.progress is None else f" {waiting.progress:.0%}"
    return f"{waiting.message}{done}"
