"""The chat on a real pseudo-terminal: keys in, screen out."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Served
from tests.fakes.fake_service import FakeService, Step, say

from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals of POSIX", allow_module_level=True)

from tests.cli.terminal import Terminal

Open = Callable[..., Terminal]
CTRL_C, CTRL_D, ALT_ENTER = "\x03", "\x04", "\x1b\r"


@pytest.fixture
def open_chat(home: Path, serve: Callable[..., Served]) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []
    environ = {"PATH": os.defpath, "HOME": str(home)}
    environ |= {"XDG_CONFIG_HOME": str(home / "config"), "XDG_DATA_HOME": str(home / "data")}

    def start(node: Served, *flags: str) -> Terminal:
        arguments = [sys.executable, "-m", "ai_assistant.cli.main", "chat", "--url", node.url]
        opened.append(Terminal([*arguments, *flags], environ))
        opened[-1].expect(">>>")
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def slowly(request: GenerateRequest) -> list[Step]:
    """A long answer, unless asked shortly."""
    prompt = request.prompt
    assert isinstance(prompt, ChatPrompt)
    if prompt.messages[-1].content == "short":
        return say(f"messages: {len(prompt.messages)}")
    steps: list[Step] = [TokenChunk(text="begun ")]
    for number in range(500):
        steps += [0.05, TokenChunk(text=f"word{number} ")]
    return [*steps, *say("never")]


def test_ctrl_c_stops_the_answer_and_not_the_chat(
    open_chat: Open, serve: Callable[..., Served]
) -> None:
    node = serve(FakeService(script=slowly))
    chat = open_chat(node)
    chat.type("long\r")
    chat.expect("word3")
    chat.type(CTRL_C)
    chat.expect("(stopped)")
    chat.expect(">>>")
    deadline = time.monotonic() + 5
    while not node.service.closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(node.service.closed) == 1, "the model went on"
    chat.type("short\r")
    chat.expect("messages: 3")  # what was said before Ctrl-C is kept
    chat.expect(">>>")
    chat.type(CTRL_D)
    assert chat.leave() == 0


def test_ctrl_c_at_the_prompt_clears_the_line(
    open_chat: Open, serve: Callable[..., Served]
) -> None:
    node = serve()
    chat = open_chat(node)
    chat.type("half a question")
    chat.expect("half a question")
    chat.type(CTRL_C)
    chat.expect("Ctrl-D leaves.")
    chat.expect(">>>")
    chat.type("whole\r")
    chat.expect("Hello")
    chat.expect(">>>")
    chat.type("/exit\r")
    assert chat.leave() == 0
    assert len(node.service.asked) == 1


def question(node: Served, number: int = -1) -> str | None:
    prompt = node.service.asked[number].prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages[-1].content


def test_more_than_one_line(open_chat: Open, serve: Callable[..., Served]) -> None:
    node = serve()
    chat = open_chat(node)
    chat.type(f"one{ALT_ENTER}two\r")
    chat.expect("Hello")
    assert question(node) == "one\ntwo"
    chat.expect(">>>")
    chat.type('"""three\r')
    chat.expect("...")
    chat.type('four"""\r')
    chat.expect("Hello")
    assert question(node) == "three\nfour"


def test_history_lasts_and_is_private(
    open_chat: Open, serve: Callable[..., Served], home: Path
) -> None:
    node = serve()
    chat = open_chat(node)
    chat.type("remember me\r")
    chat.expect("Hello")
    chat.expect(">>>")
    chat.type(CTRL_D)
    chat.leave()
    file = home / "data/ai-assistant/chat-history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = open_chat(node)
    again.type("\x1b[A")
    again.expect("remember me")
    again.type("\r")
    again.expect("Hello")
    assert question(node) == "remember me"


def test_the_first_words_say_what_this_is(open_chat: Open, serve: Callable[..., Served]) -> None:
    script = [TokenChunk(reasoning="let me see"), *say("yes\x1b]52;c;x\x07")]
    chat = open_chat(serve(FakeService(script=script)), "--stats")
    chat.type("?\r")
    before = chat.expect("yes]52;c;x")
    assert "\x1b[2mlet me see\x1b[0m\r\n\r\n" in before
    chat.expect("first token after")


def test_commands_are_completed(open_chat: Open, serve: Callable[..., Served]) -> None:
    chat = open_chat(serve())
    complete(chat, "/regen", "have the last question", "erate")
    chat.expect("There is no answer to give again.")
    chat.expect(">>>")
    complete(chat, "/model org", "org/big", "/big")
    chat.expect("org/big answers from now on.")


def complete(chat: Terminal, typed: str, offered: str, added: str) -> None:
    """Type, wait for the menu, take its first line."""
    chat.type(typed)
    chat.expect(offered)
    chat.type("\t")
    chat.expect(added)
    chat.type("\r")
