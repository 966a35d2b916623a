"""`ai-assistant ask`: one question, one answer, made for pipes."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from ai_assistant.cli.answer import Answer
from ai_assistant.cli.client import Client
from ai_assistant.cli.connect import running_or_temporary, target
from ai_assistant.cli.errors import WrongUse
from ai_assistant.cli.options import model_option, node_options
from ai_assistant.cli.output import printable
from ai_assistant.cli.streams import lenient
from ai_assistant.cli.waiting import WaitingLine


@click.command("ask")
@click.argument("question", nargs=-1, required=False)
@model_option
@click.option("--system", "-s", metavar="TEXT", help="System prompt.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 is the most likely answer.")
@click.option(
    "--schema",
    "schema_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON schema that the answer must fit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@node_options
def command(
    question: tuple[str, ...],
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    schema_file: Path | None,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Ask one question and print the answer.

    What is piped in is put below the question; a lone - stands for the piped text.

    \b
    Examples:
      ai-assistant ask "What is a mutex?"
      ai-assistant ask "Summarise this" < report.txt
      git diff | ai-assistant ask "Write a commit message" --system "Be brief."
      ai-assistant ask - < prompt.txt
      ai-assistant ask "Three colours" --schema colours.json --json
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": messages(prompt(" ".join(question), piped_text(question)), system),
        "priority": "interactive",
        "max_tokens": max_tokens,
        "temperature": temperature,
        "response_format": response_format(schema_file),
        "timings": True if as_json else None,
    }
    body = {name: value for name, value in body.items() if value is not None}
    with running_or_temporary(target(url, config_file, api_key_file)) as client:
        answer = _answer(client, body, silent=as_json)
    if as_json:
        click.echo(json.dumps(as_object(answer), ensure_ascii=False))


def prompt(question: str, piped: str) -> str:
    """Question above, piped text below; raises `WrongUse` when both are empty."""
    question = "" if question == "-" else question
    both = "\n\n".join(part for part in (question, piped) if part.strip())
    if not both:
        raise WrongUse("There is no question.", 'Try: ai-assistant ask "What is a mutex?"')
    return both.encode("utf-8", "replace").decode("utf-8")


def piped_text(question: tuple[str, ...]) -> str:
    """What standard input holds, unless it is the keyboard."""
    if sys.stdin.isatty() and question != ("-",):
        return ""
    return lenient(sys.stdin).read()


def messages(text: str, system: str | None) -> list[dict[str, str]]:
    """The conversation of one turn."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": text}]


def response_format(schema_file: Path | None) -> dict[str, Any] | None:
    """The schema as the endpoint takes it."""
    if schema_file is None:
        return None
    try:
        schema = json.loads(schema_file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WrongUse(f"{schema_file} is not JSON: {error}.", "Mend the schema file.") from error
    if not isinstance(schema, dict):
        raise WrongUse(f"{schema_file} is not a JSON schema.", 'It must be an object: {"type": …}')
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _answer(client: Client, body: dict[str, Any], *, silent: bool) -> Answer:
    answer = Answer()
    terminal = sys.stdout.isatty()
    for piece in client.answer(body, WaitingLine()):
        answer.add(piece)
        if piece.text and not silent:
            click.echo(printable(piece.text) if terminal else piece.text, nl=False)
    if not silent and not answer.text.endswith("\n"):
        click.echo()
    if answer.finish == "length":
        click.echo(click.style("(cut at the token limit)", dim=True), err=True)
    return answer


def as_object(answer: Answer) -> dict[str, Any]:
    """The answer for a script."""
    usage = answer.usage
    return {
        "text": answer.text,
        "reasoning": answer.reasoning or None,
        "model": answer.model,
        "finish_reason": answer.finish,
        "usage": None
        if usage is None
        else {name: getattr(usage, name) for name in usage.__struct_fields__},
        "timings": answer.timings(),
    }
