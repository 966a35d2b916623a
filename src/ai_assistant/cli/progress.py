"""A bar on standard error for long work, with the time that is left; gone at the end."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

Tell = Callable[[float], None]
"""Hears how much is done, from 0 to 1."""


@contextmanager
def bar(title: str, *, quiet: bool = False) -> Generator[Tell]:
    """Show it while the body runs; `quiet` shows nothing."""
    if quiet:
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    look = (TextColumn("{task.description}"), BarColumn(30), TimeRemainingColumn())
    with Progress(*look, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title, total=1.0)
        yield lambda share: shown.update(task, completed=share)
