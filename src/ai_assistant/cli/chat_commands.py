"""What may be typed after a slash."""

from pathlib import Path
from typing import NamedTuple

from ai_assistant.cli.chat_loop import STARTER, STARTER_NOTE, Chat, Handler
from ai_assistant.cli.chat_talk import OPTIONS, load_talk
from ai_assistant.cli.errors import CommandError


class ChatCommand(NamedTuple):
    """A line of `/help` and what it does."""

    usage: str
    meaning: str
    handler: Handler


def show_help(chat: Chat, _: str) -> None:
    """`/help`"""
    width = max(len(one.usage) for one in COMMANDS.values())
    for one in COMMANDS.values():
        chat.screen.line(f"  {one.usage:<{width}}  {one.meaning}")
    chat.screen.line('\n  Alt+Enter, or a block in """ """, gives more than one line.')
    chat.screen.line("  Ctrl-C stops an answer; Ctrl-D leaves.")


def begin_anew(chat: Chat, _: str) -> None:
    """`/new`"""
    chat.talk.turns.clear()
    chat.screen.remark("A new conversation.")


def choose_model(chat: Chat, name: str) -> None:
    """`/model`"""
    known = {one.model.id: one for one in chat.models()}
    if not name:
        current = chat.model_id()
        for one in known:
            chat.screen.line(f"  {'*' if one == current else ' '} {one}")
        return
    if name not in known:
        raise CommandError(f"The node has no model {name}.", f"It has: {', '.join(known)}")
    chat.talk.model = name
    chat.screen.remark(f"{name} answers from now on.")
    if name == STARTER:
        chat.screen.remark(STARTER_NOTE)


def set_system(chat: Chat, text: str) -> None:
    """`/system`"""
    if not text:
        chat.screen.line(chat.talk.system or "(no system prompt)")
        return
    chat.talk.system = None if text == "none" else text
    chat.screen.remark("System prompt removed." if text == "none" else "System prompt set.")


def set_option(chat: Chat, rest: str) -> None:
    """`/set`"""
    name, _, value = rest.partition(" ")
    if value:
        chat.talk.set_option(name, value.strip())
    elif name and name not in OPTIONS:
        raise CommandError(f"There is no option {name}.", f"Options: {', '.join(OPTIONS)}")
    for option in [name] if name else OPTIONS:
        chat.screen.line(f"  {option} = {chat.talk.options.get(option, 'default')}")


def switch_stats(chat: Chat, word: str) -> None:
    """`/stats`"""
    chat.stats = word == "on" if word in ("on", "off") else not chat.stats
    chat.screen.remark(f"Speed after each answer: {'on' if chat.stats else 'off'}.")


def answer_again(chat: Chat, _: str) -> None:
    """`/regenerate`"""
    before = chat.talk.take_back("assistant")
    if before is None:
        raise CommandError("There is no answer to give again.", "Ask something first.")
    chat.respond(instead_of=before)


def save(chat: Chat, path: str) -> None:
    """`/save`"""
    place = _place(path, "/save")
    try:
        chat.talk.save(place)
    except OSError as error:
        raise CommandError(f"{place} cannot be written: {error.strerror}.") from error
    chat.screen.remark(f"Saved {len(chat.talk.turns)} turns to {place}.")


def load(chat: Chat, path: str) -> None:
    """`/load`"""
    chat.talk = load_talk(_place(path, "/load"))
    chat.screen.remark(f"Loaded {len(chat.talk.turns)} turns; /history shows them.")


def show_history(chat: Chat, _: str) -> None:
    """`/history`"""
    if not chat.talk.turns:
        chat.screen.line("(nothing said yet)")
    for turn in chat.talk.turns:
        chat.screen.line(f"{'You' if turn.role == 'user' else 'Model'}: {turn.content}\n")


def leave(chat: Chat, _: str) -> None:
    """`/exit`"""
    chat.left = True


def _place(path: str, command: str) -> Path:
    if not path:
        raise CommandError(f"{command} needs a file name.", f"For example: {command} talk.json")
    return Path(path).expanduser()


COMMANDS: dict[str, ChatCommand] = {
    "help": ChatCommand("/help", "this list", show_help),
    "new": ChatCommand("/new", "forget what was said and begin anew", begin_anew),
    "model": ChatCommand("/model [ID]", "list models, or choose one", choose_model),
    "system": ChatCommand("/system [TEXT]", "show or set the system prompt", set_system),
    "set": ChatCommand("/set [NAME VALUE]", "such as /set temperature 0.3", set_option),
    "stats": ChatCommand("/stats [on|off]", "tokens/s and time to first token", switch_stats),
    "regenerate": ChatCommand("/regenerate", "have the last question answered again", answer_again),
    "save": ChatCommand("/save FILE", "keep the conversation", save),
    "load": ChatCommand("/load FILE", "go on with a kept one", load),
    "history": ChatCommand("/history", "what was said so far", show_history),
    "exit": ChatCommand("/exit", "leave, as Ctrl-D does", leave),
}
HANDLERS: dict[str, Handler] = {name: one.handler for name, one in COMMANDS.items()}
