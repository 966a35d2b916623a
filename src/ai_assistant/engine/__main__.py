"""The engine process: `python -m ai_assistant.engine`, started by the node with pipes."""

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ai_assistant.engine.channel import Orders, Reports, claim_standard_streams
from ai_assistant.engine.embedder import Embedder, EmbedIntake
from ai_assistant.engine.engine import Engine
from ai_assistant.engine.identity import weights
from ai_assistant.engine.intake import Intake
from ai_assistant.engine.kernels import LoadError
from ai_assistant.engine.loading import load
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.errors import AssistantError, ModelLoadFailed
from ai_assistant.protocol.frames import Load, LoadFailed, Progress, Ready, read_frame, unpack_order


def main() -> int:
    """Load what the first order names, then serve until told to end. Returns the exit code."""
    # Ctrl-C and service managers reach every process of the group; the node alone decides what
    # that means. It ends us by an order, by closing the pipe or by SIGKILL.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(0.0005)
    incoming, outgoing = claim_standard_streams()
    reports = Reports(outgoing)
    first = read_frame(incoming)
    order = unpack_order(first) if first else None
    if not isinstance(order, Load):
        return 2
    try:
        engine = _build(order.plan, Orders(incoming), reports)
    except (LoadError, AssistantError, MemoryError, OSError) as error:
        reason = ModelLoadFailed(f"{order.plan.model_path} could not be loaded: {error}")
        reports.send(LoadFailed(reason.info()))
        return 1
    reports.send(Ready(engine.status()))
    engine.run()
    return 0


def _build(plan: EnginePlan, orders: Orders, reports: Reports) -> Engine | Embedder:
    model = load(plan, _teller(reports))
    if plan.embedding:
        embedder = Embedder(plan, model, orders, reports)
        orders.start(EmbedIntake(model, plan.chunk, ranks=embedder.ranks).prepare)
        embedder.warm_up()
        return embedder
    if not model.generates:
        raise LoadError("models of this kind do not write text from left to right")
    engine = Engine(plan, model, orders, reports)
    digest = functools.partial(weights, Path(plan.model_path))
    engine.intake = intake = Intake(model, plan.context_limit, digest)
    orders.start(intake.prepare)
    engine.warm_up(intake.pinned(plan.pins))
    return engine


def _teller(reports: Reports) -> Callable[[float], None]:
    """Reports progress in steps of one per cent."""
    told = -1

    def tell(fraction: float) -> None:
        nonlocal told
        if int(fraction * 100) != told:
            told = int(fraction * 100)
            reports.send(Progress(fraction))

    return tell


if __name__ == "__main__":
    sys.exit(main())
