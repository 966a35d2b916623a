"""`ai-assistant plan`: how a model would best be laid over this machine, how fast it would be."""

import json
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from ai_assistant import config
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.cli.output import columns, size
from ai_assistant.cli.progress import bar
from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.facts import read_cpu, read_memory
from ai_assistant.devices.layout import stored, words
from ai_assistant.devices.layout.predict import Bench
from ai_assistant.devices.layout.search import TURNS, Limits, Prediction, Workload, best
from ai_assistant.protocol.layout import ModelAnatomy
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.models import known_models
from ai_assistant.workers.trials import Measuring

_SHOWN = 6
_GIGABYTE = 10**9
_RESERVE = 0.9
"""Share of the free memory that a plan may take."""


class _Machine(NamedTuple):
    threads: tuple[int, ...]
    gpu: str | None
    limits: Limits
    name: str


@click.command("plan")
@click.argument("model", required=False, metavar="[MODEL]")
@click.option(
    "--workload",
    type=click.Choice(list(TURNS)),
    default="chat",
    show_default=True,
    help="What it should be quick at.",
)
@click.option(
    "--context", type=click.IntRange(256), default=4096, show_default=True, help="Tokens."
)
@click.option("--gpu-memory", type=float, metavar="GB", help="Plan as if the GPU had no more free.")
@click.option("--explain", is_flag=True, help="Show what each part of a step costs.")
@click.option("--again", is_flag=True, help="Measure anew, although it was measured before.")
@json_option
@config_option
def command(
    model: str | None,
    workload: Workload,
    context: int,
    gpu_memory: float | None,
    explain: bool,
    again: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Predict how fast a model would be here.

    For each way to lay it over this machine: processor, GPU, threads.

    MODEL is a GGUF file or the name of a model of this node; the default one if not given. A few
    of its layers are timed on each device, with zeros in the place of its weights: the model is
    not loaded. What was measured is kept.

    \b
    Examples:
      ai-assistant plan
      ai-assistant plan ~/models/mistral-7b.gguf --workload agent --explain
      ai-assistant plan --gpu-memory 4 --json
    """
    settings = load(config_file).settings
    path = _path(model, settings)
    anatomy = read_anatomy(path)
    if len(anatomy.layers) < 2:
        raise CommandError(f"{path.name} has too few layers to be planned.")
    machine = _machine(gpu_memory)
    bench = _bench(
        path, anatomy, machine, config.data_dir(settings) / "layouts", again=again, quiet=as_json
    )
    found = best(anatomy, bench, machine.limits, workload, cells=context)
    if not found:
        anyhow = best(anatomy, bench, Limits(ram=1 << 62), workload, cells=context)
        raise CommandError(words.refusal(anatomy, machine.limits, anyhow[0]))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
        return
    _show(anatomy, found, machine.limits)
    if explain:
        click.echo()
        rows = [
            (name, f"{seconds * 1000:.2f} ms")
            for name, seconds in words.terms(anatomy, bench, found[0], workload)
        ]
        click.echo(columns(("a token of an answer", "time"), rows))


def _path(model: str | None, settings: config.Settings) -> Path:
    if model and Path(model).expanduser().exists():
        return Path(model).expanduser()
    known = known_models(settings.store.models)
    for one in known:
        if model in (None, one.id):
            return Path(one.path)
    names = ", ".join(one.id for one in known)
    raise CommandError(f"There is no file and no model {model!r}. Models here: {names}.")


def _machine(gpu_memory: float | None) -> _Machine:
    cpu = read_cpu()
    cores = cpu.compute_cores
    report = ask_kernels()
    devices = report.devices if report else ()
    gpu = max(
        (one for one in devices if one.kind in ("gpu", "igpu")),
        key=lambda one: one.memory_free,
        default=None,
    )
    free = gpu.memory_free if gpu else 0
    return _Machine(
        threads=tuple(sorted({cores, max(1, cores // 2)})),
        gpu=gpu.name if gpu else None,
        limits=Limits(
            ram=int(read_memory().available * _RESERVE),
            gpu=min(free, int(gpu_memory * _GIGABYTE)) if gpu_memory is not None else free,
        ),
        name=f"{cpu.name} {gpu.description if gpu else ''} {report.version if report else ''}",
    )


def _bench(
    path: Path, anatomy: ModelAnatomy, machine: _Machine, folder: Path, *, again: bool, quiet: bool
) -> Bench:
    name = stored.key(anatomy, machine.name, machine.threads, 512)
    known = None if again else stored.load(folder, name)
    if known:
        return known
    with bar(f"Timing layers of {path.name}", quiet=quiet) as tell:
        bench = Measuring(path, anatomy, tell).measure(machine.threads, machine.gpu)
    stored.save(folder, name, bench)
    return bench


def _show(anatomy: ModelAnatomy, found: list[Prediction], limits: Limits) -> None:
    head = ("layout", "TTFT", "TPOT", "tokens/s", "turn", "memory", "GPU")
    rows = [
        (
            words.where(anatomy, one),
            f"{one.ttft:.2f} s",
            f"{one.tpot * 1000:.1f} ms",
            f"{one.tokens_per_second:,.1f}",
            f"{one.turn:.2f} s",
            size(one.memory.ram),
            size(one.memory.gpu) if one.memory.gpu else "-",
        )
        for one in found[:_SHOWN]
    ]
    click.echo(columns(head, rows))
    click.echo()
    for reason in words.reasons(anatomy, found, limits):
        click.echo(reason)
