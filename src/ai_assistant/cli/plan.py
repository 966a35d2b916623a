"""`ai-assistant plan`: how a model would best be laid over this machine, how fast it would be."""

import json
from pathlib import Path

import click
import msgspec

from ai_assistant.cli import plan_table
from ai_assistant.cli.errors import CommandError
from ai_assistant.cli.options import config_option, json_option, load
from ai_assistant.cli.progress import bar
from ai_assistant.config import places
from ai_assistant.config.settings import Settings
from ai_assistant.devices.child import ask_kernels
from ai_assistant.devices.facts import read_cpu, read_disk, read_memory
from ai_assistant.devices.gpus import Gpu, read_gpus
from ai_assistant.devices.keep import Place, plan_keeping
from ai_assistant.devices.layout import stored, words
from ai_assistant.devices.layout.predict import Bench, Factors, Layout
from ai_assistant.devices.layout.room import Limits, measured, memory
from ai_assistant.devices.layout.search import TURNS, Prediction, Wanted, Workload, best
from ai_assistant.devices.plan import CHUNKS, Machine, choices, limits, plan_engine
from ai_assistant.devices.settings import EngineSettings
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.layout import ModelAnatomy
from ai_assistant.protocol.status import ModelInfo
from ai_assistant.store.anatomy import read_anatomy
from ai_assistant.store.models import known_models
from ai_assistant.workers.drafts import Drafts, Room
from ai_assistant.workers.planning import Planner, machine_name
from ai_assistant.workers.trials import Measuring, Ways
from ai_assistant.workers.verifying import Verified, verify

_GIGABYTE = 10**9
_VERIFIED = 2
"""Layouts that `--verify` tries."""


class Planning(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made from."""

    model: ModelInfo
    anatomy: ModelAnatomy
    settings: EngineSettings
    machine: Machine
    gpus: tuple[Gpu, ...]
    wanted: Wanted
    limits: Limits
    folder: Path

    @property
    def name(self) -> str:
        """Of the files in which it is kept what was measured."""
        return stored.key(self.anatomy, machine_name(self.gpus))

    @property
    def ways(self) -> Ways:
        """What has to be timed."""
        cores = self.machine.cores
        own = self.settings.threads
        return Ways(
            threads=(own,) if own else (cores,) if self.gpus else _threads(cores),
            gpus=tuple(gpu.name for gpu in self.gpus),
            chunk=max(CHUNKS) if self.gpus else max(self.wanted.chunks),
        )


def _threads(cores: int) -> tuple[int, ...]:
    """All, and half of them."""
    return tuple(sorted({cores, max(1, cores // 2)}))


@click.command("plan")
@click.argument("model", required=False, metavar="[MODEL]")
@click.option(
    "--workload",
    type=click.Choice(list(TURNS)),
    help="What it should be quick at; otherwise what the settings say.",
)
@click.option("--context", type=click.IntRange(256), help="Tokens of one conversation.")
@click.option(
    "--gpu-memory", type=float, metavar="GB", help="Plan as if the GPUs had no more free."
)
@click.option(
    "--explain",
    is_flag=True,
    help="Show what each part of a step costs, and whether a draft model would pay.",
)
@click.option("--verify", "sure", is_flag=True, help="Load the model and try the two best layouts.")
@click.option("--again", is_flag=True, help="Measure anew, although it was measured before.")
@json_option
@config_option
def command(
    model: str | None,
    workload: Workload | None,
    context: int | None,
    gpu_memory: float | None,
    explain: bool,
    sure: bool,
    again: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Predict how fast a model would be here.

    For each way to lay it over this machine: processor, GPUs, threads, KV cache.

    MODEL is a GGUF file or the name of a model of this node; the default one if not given. A few
    of its layers are timed on each device, with zeros in the place of its weights: the model is
    not loaded. What was measured is kept, and whatever is loaded later is laid out by it.

    \b
    Examples:
      ai-assistant plan
      ai-assistant plan ~/models/mistral-7b.gguf --workload agent --explain
      ai-assistant plan --gpu-memory 4 --json
    """
    settings = load(config_file).settings
    work = workload or settings.engine.workload
    engine = msgspec.structs.replace(settings.engine, workload=work)
    settings = msgspec.structs.replace(settings, engine=engine)
    planning = _planning(_model(model, settings), settings, context, gpu_memory)
    benches, factors = _benches(planning, again=again, quiet=as_json)
    found = best(planning.anatomy, benches, planning.limits, work, planning.wanted, factors)
    if not found:
        raise CommandError(_refusal(planning, benches))
    tried: list[Verified] = []
    if sure:
        with bar("Trying the best layouts", quiet=as_json) as tell:
            path = Path(planning.model.path)
            tried = verify(path, found[:_VERIFIED], work, tell, benches, factors)
        stored.save_factors(planning.folder, planning.name, tried[-1].factors)
        order = [one.layout for one in tried]
        found.sort(key=lambda one: order.index(one.layout) if one.layout in order else len(order))
    plan = _engine_plan(planning, settings, found[0].layout)
    said = words.reasons(planning.anatomy, found, planning.limits, work)
    if any(bench.disturbed for bench in benches.values()):
        said.append(
            "Measured while busy: predictions may be low. Ask with --again on a quiet machine."
        )
    if as_json:
        click.echo(_json(planning, plan, found, said, tried))
        return
    click.echo(plan_table.layouts(planning.anatomy, found))
    click.echo()
    click.echo(plan_table.settings(planning.anatomy, plan, found[0]))
    click.echo()
    for line in (*said, *(plan_table.verified(planning.anatomy, one) for one in tried)):
        click.echo(line)
    if explain:
        bench = benches[found[0].layout.kv_type]
        rows = words.terms(planning.anatomy, bench, found[0], work, factors)
        click.echo(f"\n{plan_table.terms(rows, factors)}")
        click.echo(f"\n{_drafted(planning, settings, plan, found[0])}")


def _drafted(planning: Planning, settings: Settings, plan: EnginePlan, first: Prediction) -> str:
    """Whether a smaller model would help to guess."""
    pairs = zip(planning.machine.gpus, first.memory.gpus, strict=False)
    gpu = max((free - taken for free, taken in pairs), default=0)
    room = Room(planning.machine.memory_available - first.memory.ram, gpu)
    planner = Planner(planning.settings, planning.folder)
    drafts = Drafts(planning.settings, known_models(settings.store.models), planner)
    return drafts.judge(planning.model, plan, room, planning.gpus).words


def _json(
    planning: Planning,
    plan: EnginePlan,
    found: list[Prediction],
    said: list[str],
    tried: list[Verified],
) -> str:
    parts = {
        "model": planning.model.id,
        "plan": plan,
        "predictions": found,
        "reasons": said,
        "verified": tried,
    }
    return json.dumps(msgspec.to_builtins(parts))


def _model(model: str | None, settings: Settings) -> ModelInfo:
    if model and (path := Path(model).expanduser()).exists():
        # By the name that it would have beside the others: the bundled model keeps its own.
        return known_models((str(path), *settings.store.models))[0]
    known = known_models(settings.store.models)
    for one in known:
        if model in (None, one.id):
            return one
    names = ", ".join(one.id for one in known)
    raise CommandError(f"There is no file and no model {model!r}. Models here: {names}.")


def _planning(
    model: ModelInfo, settings: Settings, context: int | None, gpu_memory: float | None
) -> Planning:
    anatomy = read_anatomy(Path(model.path))
    if len(anatomy.layers) < 2:
        raise CommandError(f"{model.id} has too few layers to be planned.")
    engine = settings.engine
    if context:
        engine = msgspec.structs.replace(engine, context=context, cells=0)
    gpus = read_gpus(ask_kernels)
    room = float("inf") if gpu_memory is None else gpu_memory * _GIGABYTE
    free = tuple(int(min(gpu.free, room / len(gpus))) for gpu in gpus)
    machine = Machine(read_cpu().compute_cores, read_memory().available, free)
    return Planning(
        model=model,
        anatomy=anatomy,
        settings=engine,
        machine=machine,
        gpus=gpus,
        wanted=_wanted(model, anatomy, machine, engine),
        limits=limits(machine),
        folder=places.layouts_dir(settings),
    )


def _wanted(
    model: ModelInfo, anatomy: ModelAnatomy, machine: Machine, engine: EngineSettings
) -> Wanted:
    if machine.gpus:
        return choices(model, anatomy, machine, engine)
    plan = plan_engine(model, machine, engine)
    return Wanted(
        cells=(plan.cells,), kv_types=(plan.kv_type,), chunks=(plan.chunk,), threads=engine.threads
    )


def _benches(planning: Planning, *, again: bool, quiet: bool) -> tuple[dict[str, Bench], Factors]:
    """What was measured of each type of KV cache; measured now where it was not."""
    kinds = planning.wanted.kv_types
    known = {} if again else stored.load(planning.folder, planning.name, kinds)
    missing = [kind for kind in kinds if kind not in known]
    with bar(f"Timing layers of {planning.model.id}", quiet=quiet or not missing) as tell:
        if missing:
            measuring = Measuring(Path(planning.model.path), planning.anatomy, tell)
            ways = msgspec.structs.replace(planning.ways, kv_type=kinds[0], others=kinds[1:])
            for kind, bench in measuring.measure_all(ways).items():
                known[kind] = bench
                stored.save(planning.folder, planning.name, kind, bench)
    return known, stored.load_factors(planning.folder, planning.name)


def _refusal(planning: Planning, benches: dict[str, Bench]) -> str:
    """Nothing fits: what the smallest layout would need."""
    wanted, anatomy = planning.wanted, planning.anatomy
    kind = wanted.kv_types[-1]
    layout = Layout(
        gpu_layers=max(wanted.gpu_layers, 0) if planning.gpus else 0,
        threads=planning.machine.cores,
        cells=wanted.cells[-1],
        kv_type=kind,
    )
    bench = benches[kind]
    needs = measured(bench, anatomy, max(bench.processor(1).layer.tokens))
    least = memory(anatomy, layout, needs)
    return words.refusal(anatomy, planning.limits, layout, least, words.smaller_weights(anatomy))


def _engine_plan(planning: Planning, settings: Settings, layout: Layout) -> EnginePlan:
    plan = plan_engine(planning.model, planning.machine, planning.settings, layout)
    folder = places.cache_dir(settings)
    place = Place(str(folder), used=0, free=read_disk(folder).free)
    return plan_keeping(plan, settings.cache, place, ())
