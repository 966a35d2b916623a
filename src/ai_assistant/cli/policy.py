"""`ai-assistant policy`: the rules about what may leave, and what they say of a text."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from ai_assistant.cli.errors import CommandError, WrongUse
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.cli.output import columns, printable
from ai_assistant.config import places
from ai_assistant.policy.decide import Decision, decide
from ai_assistant.policy.examine import Examined, Examiner
from ai_assistant.policy.labels import Destination, Facts, Labels, Reach
from ai_assistant.policy.redact import redact
from ai_assistant.policy.rules import REACHES, Rules
from ai_assistant.policy.rules_file import RulesError, RulesFile, read_rules
from ai_assistant.policy.template import TEMPLATE
from ai_assistant.policy.vault import Vault

_LARGEST = 64 << 20


@click.group("policy")
def command() -> None:
    """Say what may leave this machine, and check a text.

    The rules are in policy.toml beside the settings file. Without it nothing leaves.

    \b
    Examples:
      ai-assistant policy init
      ai-assistant policy check "Write to alice@example.com"
      ai-assistant policy check letter.txt --to openai@us
    """


@command.command("init")
@json_option
@config_option
def init(as_json: bool, config_file: Path | None) -> None:
    """Write a rule file to begin with; one that exists is left alone.

    \b
    Examples:
      ai-assistant policy init
    """
    path = places.policy_file(load(config_file).file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandError(
            f"{path} exists already.", "Edit it, or move it away first; nothing was changed."
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(TEMPLATE)
    if as_json:
        click.echo(msgspec.json.encode({"file": str(path)}))
    else:
        click.echo(f"The rules are in {path}. Nothing leaves until you open a list there.")


@command.command("check")
@click.argument("text")
@click.option(
    "--to",
    "to",
    multiple=True,
    metavar="PLACE",
    help="A provider as NAME or NAME@REGION, or process, machine, lan, cloud; may be repeated.",
)
@click.option("--key", default="", metavar="NAME", help="As if the key of that name asked.")
@click.option("--model", "-m", default="", metavar="ID", help="As if that model were asked for.")
@json_option
@config_option
def check(
    text: str,
    to: tuple[str, ...],
    key: str,
    model: str,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Show what is found in TEXT, or in the file of that name, and where it may go.

    `-` reads standard input.

    What is found is not printed, only where it stands and what would be sent in its place.

    \b
    Examples:
      ai-assistant policy check "Call me at +44 20 7946 0958"
      ai-assistant policy check letter.txt --to lan --to openai@us
      ai-assistant policy check letter.txt --key finance-bot --json
    """
    path = places.policy_file(load(config_file).file)
    try:
        rules = read_rules(path)
    except RulesError as error:
        hint = "Until it is mended nothing leaves this machine."
        raise WrongUse("\n       ".join(error.problems), hint) from error
    content = _content(text)
    examined = Examiner(RulesFile(path)).examine_text(content, Facts(tenant=key, model=model))
    destinations = [_destination(one) for one in to] or _usual(rules)
    decisions = decide(examined.labels, rules, destinations)
    if as_json:
        click.echo(msgspec.json.encode(_as_data(content, examined, decisions)))
    else:
        _print(content, examined, decisions, path if rules.origin else None)


class _Found(NamedTuple):
    line: int
    column: int
    label: str
    detector: str
    confidence: float
    length: int


def _content(text: str) -> str:
    path = Path(text)
    try:
        if text == "-":
            data = sys.stdin.buffer.read(_LARGEST + 1)
        elif len(text) > 1000 or "\n" in text or not path.is_file():
            return text
        else:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise
        return text
    if len(data) > _LARGEST:
        raise CommandError(f"{text} is larger than {_LARGEST >> 20} MB.", "Check a part of it.")
    return data.decode("utf-8", "replace")


def _destination(text: str) -> Destination:
    name, _, region = text.partition("@")
    if not name:
        raise click.BadParameter("write NAME or NAME@REGION", param_hint="--to")
    reaches: dict[str, Reach] = {"process": "process", "machine": "machine", "lan": "lan"}
    return Destination(name=name, reach=reaches.get(name, "cloud"), region=region)


def _usual(rules: Rules) -> list[Destination]:
    """This machine, the network, a provider that no rule names, and those that rules name."""
    named = {
        str(target)
        for rule in (rules.unlabelled, *rules.labels.values())
        for target in (*rule.allow, *rule.redact)
        if target.name not in (*REACHES, "*") or target.region != "*"
    }
    named = {one.replace("*@", "cloud@") for one in named}
    return [_destination(one) for one in ("machine", "lan", "cloud", *sorted(named))]


def _findings(content: str, examined: Examined) -> list[_Found]:
    found: list[_Found] = []
    for own in examined.findings:
        for one in own:
            line = content.count("\n", 0, one.start) + 1
            column = one.start - (content.rfind("\n", 0, one.start) + 1) + 1
            length = one.end - one.start
            found.append(_Found(line, column, one.label, one.detector, one.confidence, length))
    return found


def _sent(examined: Examined, decision: Decision) -> str:
    """The text as it would go there."""
    if decision.action == "refuse":
        return ""
    return redact(examined.parts, examined.findings, decision.redacts, Vault()).texts[0]


def _as_data(
    content: str, examined: Examined, decisions: tuple[Decision, ...]
) -> dict[str, object]:
    return {
        "labels": sorted(examined.labels.names),
        "failure": examined.failure,
        "findings": [one._asdict() for one in _findings(content, examined)],
        "decisions": [
            {
                "destination": _shown(one.destination),
                "action": one.action,
                "reason": one.reason,
                "terms": [msgspec.structs.asdict(term) for term in one.terms],
                "sent": _sent(examined, one),
            }
            for one in decisions
        ],
    }


def _print(
    content: str, examined: Examined, decisions: tuple[Decision, ...], path: Path | None
) -> None:
    click.echo(f"Rules: {path or 'no file, so nothing leaves this machine'}\n")
    found = _findings(content, examined)
    if found:
        rows = [
            (f"{f.line}:{f.column}", f.label, f.detector, f"{f.confidence:.2f}", str(f.length))
            for f in found
        ]
        click.echo(columns(("at", "label", "detector", "sure", "length"), rows))
    else:
        click.echo(examined.failure or "Nothing protected is found.")
    others = examined.labels.names - Labels(frozenset(f.label for f in found)).names
    if others:
        click.echo(f"Other labels: {', '.join(sorted(others))}")
    click.echo()
    rows = [(_shown(one.destination), one.action, printable(one.reason)) for one in decisions]
    click.echo(columns(("to", "decision", "why"), rows))
    redacted = next((one for one in decisions if one.action == "redact"), None)
    if redacted is not None:
        text = " ".join(printable(_sent(examined, redacted)).split())
        click.echo(f"\nTo {_shown(redacted.destination)} goes: {text[:600]}")


def _shown(where: Destination) -> str:
    return f"{where.name}@{where.region}" if where.region else where.name
