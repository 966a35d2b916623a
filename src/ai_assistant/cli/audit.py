"""`ai-assistant audit`: what left this machine, and the proof that the record is whole."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from ai_assistant.cli.errors import CommandError, WrongUse
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.cli.output import columns, printable, size
from ai_assistant.config import places
from ai_assistant.policy.egress.anchor import Anchor, BadAnchor, parse_anchor
from ai_assistant.policy.egress.keys import BadKey, Keys, read_keys
from ai_assistant.policy.egress.record import Record
from ai_assistant.policy.egress.verify import Verdict, read_records, verify

_NOTHING = "Nothing has left this machine, and nothing was refused: there is no record."


@click.group("audit")
def command() -> None:
    """Show and prove what left this machine.

    Every request is recorded before its bytes leave, without its content, in files that are chained
    and signed.

    \b
    Examples:
      ai-assistant audit ls
      ai-assistant audit verify
      ai-assistant audit report --json
    """


class _Sent(NamedTuple):
    """A departure or a refusal, with how it ended."""

    log: str
    record: Record
    ended: Record | None


@command.command("ls")
@click.option("--last", "-n", type=click.IntRange(min=1), default=50, show_default=True,
              metavar="N", help="At most so many, the newest.")  # fmt: skip
@click.option("--since", type=click.DateTime(), help="Only from this time (UTC) on.")
@click.option("--to", "to", metavar="NAME", help="Only to this provider.")
@click.option("--request", metavar="ID", help="Only of this request.")
@click.option(
    "--body",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Only where exactly the bytes of FILE were sent.",
)
@json_option
@config_option
def ls(
    last: int,
    since: datetime | None,
    to: str | None,
    request: str | None,
    body: Path | None,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """List what left, and what was refused.

    \b
    Examples:
      ai-assistant audit ls
      ai-assistant audit ls --since 2030-01-31 --to openai
      ai-assistant audit ls --body body.json --json
    """
    digests = _digests(config_file, body) if body else None
    start = since.replace(tzinfo=UTC) if since else None
    found = [
        one
        for one in _sent(config_file)
        if (to is None or one.record.destination == to)
        and (request is None or one.record.request == request)
        and (start is None or _time(one.record) >= start)
        and (digests is None or one.record.digest in digests)
    ]
    found.sort(key=lambda one: one.record.time)
    found = found[-last:]
    if as_json:
        click.echo(msgspec.json.encode([_as_data(one) for one in found]))
    elif not found:
        click.echo("Nothing of that kind is in the record.")
    else:
        click.echo(columns(("time", "to", "region", "model", "bytes", "decision", "labels",
                            "outcome", "request"), [_row(one) for one in found]))  # fmt: skip


@command.command("verify")
@click.option("--public-key", default="", metavar="HEX", help="The key that must have signed it.")
@click.option("--expect", metavar="HEAD", help="A head that an earlier `verify` printed.")
@click.option("--log", "name", metavar="NAME", help="Only the log of this program.")
@json_option
@config_option
def verify_command(
    public_key: str,
    expect: str | None,
    name: str | None,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Find lines that were changed, removed, reordered or cut off; exit code 1 if there are any.

    Keep the head that is printed somewhere else: with --expect it proves later that nothing before
    it was taken away, even by someone who has this machine's key.

    \b
    Examples:
      ai-assistant audit verify
      ai-assistant audit verify --log node --expect 120:4f0c…
    """
    verdicts = {
        log.name: _verdict(log, public_key, expect)
        for log in _logs(config_file)
        if name is None or log.name == name
    }
    if as_json:
        data = {name: _verdict_data(one) for name, one in verdicts.items()}
        click.echo(msgspec.json.encode(data))
    elif not verdicts:
        click.echo(_NOTHING)
    else:
        for log, verdict in verdicts.items():
            _print_verdict(log, verdict)
    wanted = expect is not None and not verdicts
    if wanted or not all(one.sound for one in verdicts.values()):
        raise CommandError(
            "The record is not whole." if verdicts else "The record is gone.",
            "Compare it with a copy; what cannot be trusted is named above.",
        )


@command.command("report")
@json_option
@config_option
def report(as_json: bool, config_file: Path | None) -> None:
    """Sum up what left, by destination, region and label, and whether the record is whole.

    \b
    Examples:
      ai-assistant audit report
      ai-assistant audit report --json
    """
    found = list(_sent(config_file))
    verdicts = {log.name: _verdict(log, "", None) for log in _logs(config_file)}
    sound = all(one.sound for one in verdicts.values())
    summary = _summary(found)
    if as_json:
        heads = {name: one.head for name, one in verdicts.items()}
        click.echo(msgspec.json.encode({"sound": sound, "heads": heads, **summary}))
        return
    if not found:
        click.echo(_NOTHING if not verdicts else "Nothing has left this machine.")
    else:
        _print_summary(found)
    if verdicts:
        whole = "whole: every line is signed and in its place" if sound else "NOT WHOLE"
        click.echo(f"\nThe record is {whole}. Details: ai-assistant audit verify")


def _logs(config_file: Path | None) -> list[Path]:
    root = places.egress_dir(load(config_file).settings)
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [one for one in folders if one.is_dir() and any(one.iterdir())]


def _sent(config_file: Path | None) -> Iterator[_Sent]:
    for log in _logs(config_file):
        found: list[Record] = []
        ends: dict[str, Record] = {}
        for record in read_records(log):
            if record.kind in ("sent", "refused"):
                found.append(record)
            elif record.kind == "ended":
                ends[record.id] = record
        yield from (_Sent(log.name, one, ends.get(one.id) if one.id else None) for one in found)


def _time(record: Record) -> datetime:
    try:
        return datetime.fromisoformat(record.time)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _digests(config_file: Path | None, body: Path) -> set[str]:
    data = body.read_bytes()
    keys = [_keys(log) for log in _logs(config_file)]
    return {one.digest(data) for one in keys if one}


def _keys(log: Path) -> Keys | None:
    try:
        return read_keys(log)
    except BadKey as error:
        raise CommandError(f"{error}.", "Restore it from a copy.") from error


def _verdict(log: Path, public_key: str, expect: str | None) -> Verdict:
    try:
        expected: Anchor | None = parse_anchor(expect) if expect else None
        return verify(log, key=public_key, expected=expected)
    except (BadAnchor, BadKey) as error:
        raise WrongUse(f"{error}.", "`ai-assistant audit verify -h` shows an example.") from error


def _verdict_data(one: Verdict) -> dict[str, object]:
    return {"sound": one.sound, **msgspec.to_builtins(one)}


def _print_verdict(log: str, verdict: Verdict) -> None:
    state = "whole" if verdict.sound else "NOT WHOLE"
    click.echo(f"{log}: {verdict.records:,} records in {verdict.files} files, {state}")
    for problem in verdict.problems:
        where = f"{problem.file}, line {problem.line}" if problem.line else problem.file
        click.echo(f"  {where}: {problem.what}")
    for note in verdict.notes:
        click.echo(f"  {note}")
    if verdict.head:
        click.echo(f"  head        {verdict.head}")
        click.echo(f"  public key  {verdict.public_key}")


def _row(one: _Sent) -> tuple[str, ...]:
    record = one.record
    return tuple(
        printable(cell)
        for cell in (
            record.time[:19],
            record.destination,
            record.region or "-",
            record.model or "-",
            f"{record.bytes:,}" if record.kind == "sent" else "-",
            record.decision,
            ",".join(record.labels) or "-",
            _outcome(one),
            record.request,
        )
    )


def _outcome(one: _Sent) -> str:
    if one.record.kind == "refused":
        return "not sent"
    return (one.ended.outcome or "unknown") if one.ended else "under way"


def _as_data(one: _Sent) -> dict[str, object]:
    return {
        "log": one.log,
        **msgspec.to_builtins(one.record),
        "ended": msgspec.to_builtins(one.ended) if one.ended else None,
    }


def _summary(found: list[_Sent]) -> dict[str, object]:
    sent = [one for one in found if one.record.kind == "sent"]
    labels = Counter(label for one in sent for label in one.record.labels)
    hidden: Counter[str] = Counter()
    for one in sent:
        hidden.update(one.record.hidden)
    return {
        "sent": len(sent),
        "refused": len(found) - len(sent),
        "bytes": sum(one.record.bytes for one in sent),
        "destinations": [
            {"destination": name, "region": region, "requests": count, "bytes": total}
            for (name, region), (count, total) in sorted(_by_destination(sent).items())
        ],
        "labels": dict(sorted(labels.items())),
        "hidden": dict(sorted(hidden.items())),
        "outcomes": dict(sorted(Counter(map(_outcome, sent)).items())),
        "first": min((one.record.time for one in sent), default=None),
        "last": max((one.record.time for one in sent), default=None),
    }


def _by_destination(sent: list[_Sent]) -> dict[tuple[str, str], tuple[int, int]]:
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    for one in sent:
        key = (one.record.destination, one.record.region)
        count, total = totals.get(key, (0, 0))
        totals[key] = (count + 1, total + one.record.bytes)
    return totals


def _print_summary(found: list[_Sent]) -> None:
    sent = [one for one in found if one.record.kind == "sent"]
    rows = [
        (printable(name), printable(region) or "-", f"{count:,}", size(total))
        for (name, region), (count, total) in sorted(_by_destination(sent).items())
    ]
    click.echo(columns(("to", "region", "requests", "sent"), rows))
    labels = Counter(label for one in sent for label in one.record.labels)
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(labels.items()))
    click.echo(f"\nLabels of what left: {told or 'none'}")
    click.echo(f"Refused: {len(found) - len(sent):,}")
