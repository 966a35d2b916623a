"""The chat's words and state, without a terminal."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, Served
from tests.fakes.fake_service import FakeService, Step, say

from ai_assistant.cli.chat_commands import COMMANDS, HANDLERS
from ai_assistant.cli.chat_loop import Chat, block_open, line_reader, without_fence
from ai_assistant.cli.chat_screen import Screen
from ai_assistant.cli.chat_talk import Talk, load_talk
from ai_assistant.cli.client import Client
from ai_assistant.cli.errors import CommandError
from ai_assistant.protocol.chunks import TokenChunk
from ai_assistant.protocol.errors import Overloaded
from ai_assistant.protocol.requests import ChatPrompt, GenerateRequest, Priority

Serve = Callable[..., Served]


def echo(request: GenerateRequest) -> list[Step]:
    """Says how many messages it was given."""
    prompt = request.prompt
    assert isinstance(prompt, ChatPrompt)
    return say(f"{len(prompt.messages)} messages")


def lines(*entries: str) -> str:
    return "".join(f"{entry}\n" for entry in entries)


def sent(node: Served) -> list[list[tuple[str, str | None]]]:
    return [
        [(message.role, message.content) for message in request.prompt.messages]
        for request in node.service.asked
        if isinstance(request.prompt, ChatPrompt)
    ]


def test_each_line_is_answered_and_remembered(invoke: Invoke, serve: Serve) -> None:
    node = serve(FakeService(script=echo))
    result = invoke("chat", "--url", node.url, stdin=lines("one", "", "two", "/new", "three"))
    assert result.exit_code == 0, result.output
    assert result.stdout == "1 messages\n3 messages\n1 messages\n"
    assert sent(node)[1] == [("user", "one"), ("assistant", "1 messages"), ("user", "two")]


def test_a_block_is_one_entry(invoke: Invoke, serve: Serve) -> None:
    node = serve()
    invoke("chat", "--url", node.url, stdin=lines('"""a', "", 'b"""', 'c """d', 'e""" f', '"""cut'))
    texts = [messages[-1][1] for messages in sent(node)]
    assert texts == ["a\n\nb", 'c """d\ne""" f', '"""cut']


def test_system_and_options_go_along(invoke: Invoke, serve: Serve) -> None:
    node = serve()
    commands = ["/system Be brief.", "/set temperature 0.3", "/set max_tokens 9", "/model org/big"]
    invoke("chat", "--url", node.url, stdin=lines(*commands, "hi", "/set temperature default", "x"))
    first, second = node.service.asked
    assert sent(node)[0][0] == ("system", "Be brief.")
    assert (first.model, first.max_tokens, first.sampling.temperature) == ("org/big", 9, 0.3)
    assert second.sampling.temperature is None
    assert first.priority is Priority.INTERACTIVE


def test_the_starter_model_is_honest_about_itself(invoke: Invoke, serve: Serve) -> None:
    result = invoke("chat", "--url", serve().url, stdin=lines("/model starter"))
    assert "38 M parameters" in result.stderr
    assert "invents facts" in result.stderr


def test_an_answer_can_be_given_again(invoke: Invoke, serve: Serve) -> None:
    answers = iter(["first", "second", "third"])
    node = serve(FakeService(script=lambda _: say(next(answers))))
    result = invoke("chat", "--url", node.url, stdin=lines("hi", "/regenerate", "more", "/history"))
    assert sent(node)[0] == sent(node)[1] == [("user", "hi")]
    assert sent(node)[2][1] == ("assistant", "second")
    assert "Model: third" in result.stdout


def test_an_answer_given_again_in_vain_leaves_the_old_one(invoke: Invoke, serve: Serve) -> None:
    scripts: list[list[Step]] = [say("first"), [Overloaded("Too many wait.", retry_after=1e4)]]
    scripts.append(say("next"))
    turns = iter(scripts)
    node = serve(FakeService(script=lambda _: next(turns)))
    result = invoke("chat", "--url", node.url, stdin=lines("hi", "/regenerate", "more"))
    assert "Too many wait." in result.stderr
    assert sent(node)[2] == [("user", "hi"), ("assistant", "first"), ("user", "more")]


def test_a_question_without_an_answer_is_forgotten(invoke: Invoke, serve: Serve) -> None:
    scripts = iter([[Overloaded("Too many wait.", retry_after=1e4)], say("yes")])
    node = serve(FakeService(script=lambda _: next(scripts)))
    result = invoke("chat", "--url", node.url, stdin=lines("lost", "kept"))
    assert result.exit_code == 1
    assert sent(node)[1] == [("user", "kept")]


def test_what_came_before_an_error_is_kept(invoke: Invoke, serve: Serve) -> None:
    broken: list[Step] = [TokenChunk(text="Once"), Overloaded("Enough.")]
    scripts = iter([broken, say("on")])
    node = serve(FakeService(script=lambda _: next(scripts)))
    invoke("chat", "--url", node.url, stdin=lines("tell", "go on"))
    assert sent(node)[1][1] == ("assistant", "Once")


def test_reasoning_is_not_part_of_the_talk(invoke: Invoke, serve: Serve) -> None:
    script = [TokenChunk(reasoning="hm"), *say("yes")]
    node = serve(FakeService(script=script))
    result = invoke("chat", "--url", node.url, stdin=lines("a", "b"))
    assert result.stdout == "yes\nyes\n"
    assert sent(node)[1][1] == ("assistant", "yes")


def test_a_kept_talk_goes_on(invoke: Invoke, serve: Serve, tmp_path: Path) -> None:
    node = serve()
    file = tmp_path / "talk.json"
    commands = ["/system S", "/set seed 4", "/model org/big", "hi", f"/save {file}"]
    invoke("chat", "--url", node.url, stdin=lines(*commands))
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_bytes())["turns"][1] == {"role": "assistant", "content": "Hello"}
    invoke("chat", "--url", node.url, "--load", str(file), stdin=lines("more"))
    invoke("chat", "--url", node.url, stdin=lines(f"/load {file}", "more"))
    for request, messages in zip(node.service.asked[1:], sent(node)[1:], strict=True):
        assert (request.model, request.sampling.seed) == ("org/big", 4)
        assert [role for role, _ in messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("text", ["{", '{"turns": [{"role": "king", "content": ""}]}', "[]"])
def test_what_is_no_talk_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "talk.json"
    file.write_text(text)
    with pytest.raises(CommandError, match="is not a saved chat"):
        load_talk(file)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("/nothing", "There is no command /nothing."),
        ("/set heat 3", "There is no option heat."),
        ("/set heat", "There is no option heat."),
        ("/set temperature warm", "temperature must be a number"),
        ("/set seed 1.5", "seed must be a whole number"),
        ("/model none", "The node has no model none."),
        ("/save", "/save needs a file name."),
        ("/load /no/such/file", "cannot be read"),
        ("/save /no/such/folder/file", "cannot be written"),
        ("/regenerate", "There is no answer to give again."),
    ],
)
def test_a_wrong_command_is_told_and_the_chat_goes_on(
    invoke: Invoke, serve: Serve, entry: str, words: str
) -> None:
    result = invoke("chat", "--url", serve().url, stdin=lines(entry, "hi"))
    assert words in result.stderr
    assert result.stdout.endswith("Hello\n")
    assert result.exit_code == 1


def test_commands_that_show_things(invoke: Invoke, serve: Serve) -> None:
    entries = ["/help", "/model", "/set", "/system", "/history", "/stats on", "hi", "/exit", "no"]
    result = invoke("chat", "--url", serve().url, stdin=lines(*entries))
    assert all(one.usage in result.stdout for one in COMMANDS.values())
    assert "  * starter\n    org/big\n" in result.stdout
    assert "temperature = default" in result.stdout
    assert "(no system prompt)" in result.stdout
    assert "first token after" in result.stderr
    assert result.stdout.count("Hello") == 1


def test_a_stopped_script_is_not_a_stopped_answer(serve: Serve) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    client = Client(serve().url)
    chat = Chat(client, Talk(), Screen(terminal=False))
    with pytest.raises(KeyboardInterrupt):
        chat.run(interrupted, HANDLERS)
    client.close()


@pytest.mark.parametrize(
    ("text", "is_open"), [('"""', True), ('"""a"""', False), ("a", False), ('""" """ """', True)]
)
def test_blocks(text: str, is_open: bool) -> None:
    assert block_open(text) is is_open


def test_fences_are_taken_off() -> None:
    assert without_fence('"""\na\n"""') == "a"
    assert without_fence('""""') == '""""'
    assert without_fence("plain") == "plain"


def test_lines_end_where_the_input_ends() -> None:
    read = line_reader(iter(["a\n", ""]).__next__)
    assert read() == "a\n"
    with pytest.raises(EOFError):
        read()
