"""The line that is typed on: history, completion, more than one line."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from ai_assistant.cli.chat_loop import block_open

Words = Callable[[], Iterable[str]]


class SlashCompleter(Completer):
    """Names of commands, then what belongs to the one that was typed."""

    def __init__(self, commands: Mapping[str, str], words: Mapping[str, Words]) -> None:
        self._commands = commands
        self._words = words
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What may follow the text before the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/"):
            return
        name, space, rest = text[1:].partition(" ")
        if not space:
            for command, meaning in self._commands.items():
                if command.startswith(name):
                    yield Completion(f"/{command}", -len(text), display_meta=meaning)
        elif name in ("save", "load"):
            yield from self._paths.get_completions(Document(rest), complete_event)
        elif name in self._words:
            for word in self._words[name]():
                if word.startswith(rest):
                    yield Completion(word, -len(rest))


def reader(history: Path, completer: Completer) -> Callable[[], str]:
    """Reads one entry from the terminal; Ctrl-C and Ctrl-D raise."""
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(private_file(history))),
        completer=completer,
        complete_while_typing=True,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="... ",
        reserve_space_for_menu=4,
    )
    return lambda: session.prompt(">>> ")


def private_file(path: Path) -> Path:
    """The file, made if need be, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    if os.name == "posix":
        path.chmod(0o600)
    return path


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if block_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
