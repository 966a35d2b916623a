"""`ai-assistant ps`."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import click
import msgspec

from ai_assistant.cli.client import Client
from ai_assistant.cli.connect import running, target
from ai_assistant.cli.models import state
from ai_assistant.cli.move_line import move_lines
from ai_assistant.cli.options import json_option, node_options
from ai_assistant.cli.output import columns, duration, size
from ai_assistant.cli.plan_line import plan_lines
from ai_assistant.cli.power import said
from ai_assistant.protocol.power import PowerStatus
from ai_assistant.protocol.status import EngineStatus, JobsStatus, ModelStatus, NodeStatus

_HEAD = ("model", "state", "running", "waiting", "parked", "tokens/s", "KV cells", "memory")
_MORE = (
    "model",
    "threads",
    "other programs",
    "kept in RAM",
    "on disk",
    "hits KV/RAM/disk",
    "preempted",
    "good guesses",
)


@click.command("ps")
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@json_option
@node_options
def command(
    watch: bool,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
    api_key_file: Path | None,
) -> None:
    """Show what the node is doing.

    Running, waiting and parked are sequences; running stands against the slots. Tokens per
    second are those of the last seconds of work.

    Threads are those of single tokens and of prompts, as they are now; other programs take the
    cores beside them. Kept is what has left the KV cache and can come back; hits are prompt
    tokens that were not computed again, by where they were.

    \b
    Examples:
      ai-assistant ps
      ai-assistant ps --watch
      ai-assistant ps --json
    """
    aim = target(url, config_file, api_key_file)
    with running(aim) as client:
        if as_json:
            _print_objects(client, forever=watch)
        elif watch:
            _watch(client, terminal=sys.stdout.isatty())
        else:
            click.echo(page(client.status(), aim.url))


def _print_objects(client: Client, *, forever: bool) -> None:
    """One object, or one line every second."""
    click.echo(msgspec.json.encode(client.status()))
    while forever:
        time.sleep(1)
        click.echo(msgspec.json.encode(client.status()))


def _watch(client: Client, *, terminal: bool) -> None:
    """On a terminal each page takes the place of the one before."""
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) if terminal else nullcontext() as live:
        while True:
            text = page(client.status(), client.url)
            if live is None:
                click.echo(f"{text}\n")
            else:
                live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(1)


def page(status: NodeStatus, url: str) -> str:
    """The whole report."""
    head = (
        f"Node {status.version} at {url}, process {status.pid}, up "
        f"{duration(status.uptime_seconds)}, memory {size(status.memory_bytes)}\n"
    )
    remarks = [remark for one in status.models if (remark := _remark(one))]
    remarks += _power(status.power)
    remarks += [line for one in status.models for line in plan_lines(one)]
    remarks += [line for one in status.models for line in move_lines(one, time.time())]
    table = columns(_HEAD, [row(one) for one in status.models])
    more = [more_row(one.model.id, one.engine) for one in status.models if one.engine]
    remarks += _jobs(status.jobs) if status.jobs else []
    second = ["", columns(_MORE, more)] if more else []
    return "\n".join([head, table, *second, *(["", *remarks] if remarks else [])])


def _jobs(jobs: JobsStatus) -> list[str]:
    lines = [] if jobs.online else ["Offline: this machine has no way out."]
    if jobs.working or jobs.waiting:
        waits = ", ".join(f"{count} for the {reason}" for reason, count in jobs.waiting.items())
        lines.append(f"Batches: {jobs.working} at work" + (f"; waiting: {waits}" if waits else ""))
    return [*lines, *(f"  {message}" for message in jobs.messages)]


def row(one: ModelStatus) -> tuple[str, ...]:
    """The columns of one model."""
    name = f"{one.model.id} (default)" if one.default else one.model.id
    engine = one.engine
    if engine is None:
        return (name, state(one, live=True), *["-"] * 6)
    return (
        name,
        state(one, live=True),
        f"{engine.running}/{engine.slots}",
        str(engine.waiting),
        str(engine.parked),
        f"{engine.decode_tokens_per_second:.1f}",
        f"{engine.cells_used}/{engine.cells_total}",
        size(engine.memory_bytes),
    )


def more_row(name: str, engine: EngineStatus) -> tuple[str, ...]:
    """The columns of one engine's second row: what it makes of the machine."""
    below = engine.warm_hit_tokens + engine.cold_hit_tokens
    hits = (max(0, engine.cached_tokens - below), engine.warm_hit_tokens, engine.cold_hit_tokens)
    drafted = engine.drafted_tokens
    return (
        name,
        f"{engine.threads}/{engine.threads_batch or engine.threads}",
        f"{engine.cores_busy:.1f} cores",
        size(engine.warm_bytes),
        size(engine.cold_bytes),
        "/".join(map(str, hits)),
        str(engine.preemptions),
        f"{engine.accepted_tokens / drafted:.0%}" if drafted else "-",
    )


def _power(power: PowerStatus | None) -> list[str]:
    """Nothing where all may be used and nothing is measured."""
    if power is None:
        return []
    slowed = [f"slowed by {power.slowed_by}"] if power.slowed_by else []
    told = [*said(power), *slowed]
    return [f"Power: {', '.join([power.mode, *told])}"] if told or power.mode != "max" else []


def _remark(one: ModelStatus) -> str:
    parts: list[str] = []
    if one.restarts:
        parts.append(f"{one.restarts} restart{'s' if one.restarts > 1 else ''}")
    if one.state == "loading" and one.eta_seconds is not None:
        parts.append(f"ready in about {duration(one.eta_seconds)}")
    if one.error:
        parts.append(one.error)
    return f"{one.model.id}: {'; '.join(parts)}" if parts else ""
