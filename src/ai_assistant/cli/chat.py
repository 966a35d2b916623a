"""`ai-assistant chat`: a conversation in the terminal."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import click

from ai_assistant.cli.chat_commands import COMMANDS, HANDLERS
from ai_assistant.cli.chat_loop import Chat, line_reader
from ai_assistant.cli.chat_screen import Screen
from ai_assistant.cli.chat_talk import OPTIONS, Talk, load_talk
from ai_assistant.cli.connect import running_or_temporary, target
from ai_assistant.cli.options import model_option, node_options
from ai_assistant.cli.streams import lenient
from ai_assistant.config import places
from ai_assistant.config.settings import Settings


@click.command("chat")
@model_option
@click.option("--system", "-s", metavar="TEXT", help="System prompt.")
@click.option(
    "--load",
    "talk_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Go on with a conversation that /save kept.",
)
@click.option("--stats", is_flag=True, help="Show tokens/s and time to first token.")
@node_options
def command(
    model: str | None,
    system: str | None,
    talk_file: Path | None,
    stats: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Talk with a model in the terminal.

    If no node runs here, one is started for as long as the chat lasts. Ctrl-C stops an
    answer, Ctrl-D leaves, /help lists commands. Piped input is answered line by line.

    \b
    Examples:
      ai-assistant chat
      ai-assistant chat --model starter --system "Answer in one sentence."
      ai-assistant chat --load talk.json
      ai-assistant chat --url http://192.168.1.20:7717 --api-key-file ./key
    """
    talk = load_talk(talk_file) if talk_file else Talk()
    talk.model = model or talk.model
    talk.system = system or talk.system
    screen = Screen(terminal=sys.stdin.isatty() and sys.stdout.isatty())
    aim = target(url, config_file, api_key_file)
    with running_or_temporary(aim) as client:
        chat = Chat(client, talk, screen)
        chat.stats = stats
        if screen.terminal:
            chat.introduce()
        chat.run(_reader(chat, aim.settings), HANDLERS)
    if chat.failed and not screen.terminal:
        raise click.exceptions.Exit(1)


def _reader(chat: Chat, settings: Settings) -> Callable[[], str]:
    if not chat.screen.terminal:
        return line_reader(lenient(sys.stdin).readline)
    from ai_assistant.cli.chat_terminal import SlashCompleter, reader

    @cache
    def model_ids() -> tuple[str, ...]:
        return tuple(one.model.id for one in chat.models())

    completer = SlashCompleter(
        {name: one.meaning for name, one in COMMANDS.items()},
        {
            "model": model_ids,
            "set": lambda: OPTIONS,
            "stats": lambda: ("on", "off"),
        },
    )
    return reader(places.data_dir(settings) / "chat-history", completer)
