"""`ai-assistant batch`: many requests in one file, answered when there is time."""

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from ai_assistant.cli import batch_objects as objects
from ai_assistant.cli.batch_watch import watch as watch_batch
from ai_assistant.cli.client import Client
from ai_assistant.cli.connect import running, target
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import json_option, node_options
from ai_assistant.cli.output import size

_ENDPOINTS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
}


@click.group("batch")
def command() -> None:
    """Have many requests answered when there is time.

    A batch is a file with one request per line, as OpenAI defines it. It survives a restart of
    the node, makes room for whoever talks with a model, and can be kept to certain hours.

    \b
    Examples:
      ai-assistant batch submit questions.jsonl
      ai-assistant batch watch
      ai-assistant batch results batch_0123456789 -o answers.jsonl
    """


@command.command("submit")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--endpoint",
    metavar="NAME",
    help="chat, completions, embeddings, responses or an address; that of the first line if not"
    " given.",
)
@click.option("--window", metavar="HOURS", help="Work on it only then, such as 22:00-06:00.")
@click.option("--within", default="24h", metavar="TIME", help="Give up after that; 24h by default.")
@click.option("--spill/--no-spill", default=None,
              help="Whether providers may take lines when it is late, as policy.toml allows;"
              " jobs.spill decides if not given.")  # fmt: skip
@click.option("--label", "labels", multiple=True, metavar="NAME",
              help="A label for policy.toml, of all of its lines; may be repeated.")  # fmt: skip
@click.option("--watch", is_flag=True, help="Show how it gets on, until it has ended.")
@json_option
@node_options
def submit(
    file: Path,
    endpoint: str | None,
    window: str | None,
    within: str,
    spill: bool | None,
    labels: tuple[str, ...],
    watch: bool,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Send a file of requests.

    Each line of FILE is a JSON object with custom_id, method, url and body. What comes out has
    the same custom_id, in the order of the lines.

    \b
    Examples:
      ai-assistant batch submit questions.jsonl
      ai-assistant batch submit questions.jsonl --window 22:00-06:00 --within 3d
      ai-assistant batch submit texts.jsonl --endpoint embeddings --watch
      ai-assistant batch submit questions.jsonl --within 8h --spill --label finance
    """
    address = _ENDPOINTS.get(endpoint or "", endpoint) or _first_address(file)
    with running(target(url, config_file, api_key_file)) as client:
        with file.open("rb") as content:
            sent = client.fetch(
                "POST", "/v1/files", data={"purpose": "batch"}, files={"file": (file.name, content)}
            )
        order: dict[str, Any] = {
            "input_file_id": sent["id"], "endpoint": address, "completion_window": within
        }  # fmt: skip
        metadata = {"window": window} if window else {}
        metadata |= {} if spill is None else {"spill": str(spill).lower()}
        order |= {"metadata": metadata} if metadata else {}
        order |= {"labels": labels} if labels else {}
        tree = client.fetch("POST", "/v1/batches", json=order)
        if as_json:
            click.echo(msgspec.json.encode(tree))
        else:
            click.echo(f"Accepted as {tree['id']}, {size(sent['bytes'])}.")
        if watch:
            _watch(client, tree["id"], as_json=as_json)
        elif not as_json:
            click.echo(f"See it with: ai-assistant batch watch {tree['id']}")


def _first_address(file: Path) -> str:
    """The address that the first line names."""
    with file.open("rb") as content:
        line = next((line for line in content if line.strip()), b"")
    try:
        return str(msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))["url"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CommandError(
            f"The first line of {file} names no address.",
            "Give each line a url, or name the endpoint with --endpoint.",
        ) from error


@command.command("watch")
@click.argument("name", metavar="[ID]", required=False)
@json_option
@node_options
def watch(
    name: str | None,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Show how a batch gets on, until it has ended.

    Without ID it is the newest one that has not ended. Ctrl-C leaves the batch running. The exit
    code is 0 if it was completed, else 1.

    \b
    Examples:
      ai-assistant batch watch
      ai-assistant batch watch batch_0123456789
      ai-assistant batch watch --json
    """
    with running(target(url, config_file, api_key_file)) as client:
        _watch(client, name or _newest(client), as_json=as_json)


def _watch(client: Client, name: str, *, as_json: bool) -> None:
    batch = watch_batch(client, name, as_json=as_json)
    if not as_json:
        click.echo(_next_step(batch))
    if batch.status != "completed":
        raise click.exceptions.Exit(1)


def _next_step(batch: objects.Batch) -> str:
    for problem in batch.errors.data if batch.errors else ():
        return problem.message
    if batch.output_file_id:
        return f"Get the answers with: ai-assistant batch results {batch.id} -o FILE"
    if batch.error_file_id:
        return f"Get what went wrong with: ai-assistant batch results {batch.id} --errors"
    return "It has no results."


def _newest(client: Client) -> str:
    found = [objects.read_batch(tree) for tree in objects.fetch_batches(client)]
    if not found:
        raise CommandError("There is no batch.", "Send one with `ai-assistant batch submit FILE`.")
    return next((batch.id for batch in found if not batch.ended), found[0].id)


@command.command("ls")
@json_option
@node_options
def ls(as_json: bool, url: str | None, config_file: Path | None, api_key_file: Path | None) -> None:
    """List the batches, newest first.

    \b
    Examples:
      ai-assistant batch ls
      ai-assistant batch ls --json
    """
    with running(target(url, config_file, api_key_file)) as client:
        trees = objects.fetch_batches(client)
    if as_json:
        click.echo(msgspec.json.encode(trees))
    elif trees:
        click.echo(objects.table([objects.read_batch(tree) for tree in trees]))
    else:
        click.echo("There is no batch. Send one with: ai-assistant batch submit FILE.jsonl")


@command.command("results")
@click.argument("name", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to this file; to the standard output if not given.",
)
@click.option("--errors", is_flag=True, help="The lines that failed, instead of the answers.")
@json_option
@node_options
def results(
    name: str,
    output: Path | None,
    errors: bool,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Get the answers of a batch that has ended.

    One JSON object per line, each with the custom_id of its request. With -o the file is written
    whole or not at all, and --json prints what was written.

    \b
    Examples:
      ai-assistant batch results batch_0123456789 -o answers.jsonl
      ai-assistant batch results batch_0123456789 --errors
    """
    with running(target(url, config_file, api_key_file)) as client:
        batch = objects.read_batch(client.fetch("GET", f"/v1/batches/{name}"))
        file = _file_of(batch, errors=errors)
        if output is None:
            _copy(client, file, sys.stdout.buffer)
            return
        written = _save(client, file, output)
    if as_json:
        figures = {"id": batch.id, "file": str(output), "bytes": written}
        click.echo(msgspec.json.encode(figures | {"errors": errors}))
    else:
        click.echo(f"Wrote {output}, {size(written)}.")


def _file_of(batch: objects.Batch, *, errors: bool) -> str:
    file = batch.error_file_id if errors else batch.output_file_id
    if file is not None:
        return file
    if not batch.ended:
        raise CommandError(
            f"The batch is {batch.status.replace('_', ' ')}: its results come when it has ended.",
            f"See it with `ai-assistant batch watch {batch.id}`, or end it with `batch cancel`.",
        )
    if errors:
        raise CommandError("No line failed.")
    hint = "See them with --errors." if batch.error_file_id else ""
    raise CommandError(f"The batch is {batch.status} and has no answers.", hint)


def _copy(client: Client, file: str, out: BinaryIO) -> int:
    """The file's bytes; how many they were."""
    count = 0
    with client.opened("GET", f"/v1/files/{file}/content") as response:
        for data in response.iter_bytes():
            out.write(data)
            count += len(data)
    out.flush()
    return count


def _save(client: Client, file: str, output: Path) -> int:
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out:
            count = _copy(client, file, out)
            os.fsync(out.fileno())
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return count


@command.command("cancel")
@click.argument("name", metavar="ID")
@json_option
@node_options
def cancel(
    name: str,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Stop a batch; the answers that are there are kept.

    \b
    Examples:
      ai-assistant batch cancel batch_0123456789
    """
    with running(target(url, config_file, api_key_file)) as client:
        tree = client.fetch("POST", f"/v1/batches/{name}/cancel")
    if as_json:
        click.echo(msgspec.json.encode(tree))
    else:
        counts = objects.read_batch(tree).request_counts
        click.echo(f"Cancelled. {counts.done} of {counts.total} lines are done and are kept.")
