"""The engines' own figures for `/metrics`, read from the node's status when asked."""

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ai_assistant.protocol.power import PowerStatus
from ai_assistant.protocol.status import ModelStatus, NodeStatus
from ai_assistant.protocol.worker import Service

_PREFIX = "ai_assistant_"
GAUGES = {
    "slots": "Sequences that can run at once.",
    "running": "Sequences that run.",
    "waiting": "Sequences that have not begun.",
    "parked": "Sequences that made room for others and will go on.",
    "context_limit": "Tokens that one sequence may have.",
    "cells_total": "Tokens of KV cache in all.",
    "cells_used": "Tokens of KV cache that are in use.",
    "cells_retained": "Of the used ones: kept from ended requests.",
    "warm_bytes": "Memory of ended sequences that can come back.",
    "weights_shared_bytes": "Weights in the file's own pages, used by all processes with it.",
    "weights_own_bytes": "Weights that the engine or a device holds for itself.",
    "cold_bytes": "The same on disk.",
    "cold_blocks": "Blocks on disk.",
    "cold_written_today": "Bytes written to disk today.",
    "draft_bytes": "Weights of the draft model; 0: there is none.",
    "memory_bytes": "Memory of the engine's process.",
    "threads": "Threads that compute single tokens, now.",
    "threads_batch": "Threads that compute prompts, now.",
    "cores_busy": "Cores that other programs use.",
    "prefill_tokens_per_second": "Prompt tokens per second, of the last seconds of work.",
    "decode_tokens_per_second": "Written tokens per second, of the last seconds of work.",
}
COUNTERS = {
    "prompt_tokens": "Tokens of prompts.",
    "cached_tokens": "Of these: known already, in any tier.",
    "warm_hit_tokens": "Prompt tokens that came from RAM.",
    "cold_hit_tokens": "Prompt tokens that came from disk.",
    "generated_tokens": "Tokens that were written.",
    "steps": "Decode calls.",
    "preemptions": "Times that a sequence made room for one of a higher class.",
    "drafted_tokens": "Tokens that were guessed ahead.",
    "accepted_tokens": "Of these: right.",
    "drafted_from_text": "Tokens that were guessed from the request's own text.",
    "accepted_from_text": "Of these: right.",
    "drafted_from_past": "Tokens that were guessed from past answers.",
    "accepted_from_past": "Of these: right.",
    "drafted_from_grammar": "Tokens that a grammar left no choice about.",
    "accepted_from_grammar": "Of these: right.",
    "drafted_from_model": "Tokens that a draft model guessed and the model verified.",
    "accepted_from_model": "Of these: right.",
    "draft_seconds": "Seconds spent on the draft model.",
    "cold_refused": "Blocks on disk that were damaged and put aside.",
}


class EngineCollector(Collector):
    """Asks the service anew each time; an engine that starts again begins at 0."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not ask."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every figure of every model."""
        status = self._service.status()
        yield from _of_node(status)
        yield from _of_power(status.power)
        for name, help_text in GAUGES.items():
            yield _filled(GaugeMetricFamily(_PREFIX + name, help_text, labels=("model",)), status)
        for name, help_text in COUNTERS.items():
            yield _filled(CounterMetricFamily(_PREFIX + name, help_text, labels=("model",)), status)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, status: NodeStatus
) -> GaugeMetricFamily | CounterMetricFamily:
    name = family.name.removeprefix(_PREFIX)
    for one in status.models:
        if one.engine is not None:
            family.add_metric((one.model.id,), getattr(one.engine, name))
    return family


def _of_node(status: NodeStatus) -> Iterator[Metric]:
    ready = GaugeMetricFamily(_PREFIX + "model_ready", "1: it is loaded.", labels=("model",))
    restarts = CounterMetricFamily(_PREFIX + "engine_restarts", "After deaths.", labels=("model",))
    for one in status.models:
        ready.add_metric((one.model.id,), _as_number(one))
        restarts.add_metric((one.model.id,), one.restarts)
    up, memory = status.uptime_seconds, status.memory_bytes
    yield GaugeMetricFamily(_PREFIX + "node_uptime_seconds", "Of the node.", value=up)
    yield GaugeMetricFamily(_PREFIX + "node_memory_bytes", "Of the node alone.", value=memory)
    yield ready
    yield restarts


def _of_power(power: PowerStatus | None) -> Iterator[Metric]:
    """What sensors tell; no figure where there is none."""
    if power is None:
        return
    told = {
        "power_watts": (power.watts, "Of what the sensors cover."),
        "joules_per_token": (power.joules_per_token, "Of all that, while tokens were written."),
        "temperature_celsius": (
            power.temperature,
            "Of the hottest part, with a ceiling.",
        ),
    }
    for name, (value, help_text) in told.items():
        if value is not None:
            yield GaugeMetricFamily(_PREFIX + name, help_text, value=value)
    if power.joules is not None:
        yield CounterMetricFamily(_PREFIX + "joules", "Since the node started.", value=power.joules)
    slowed = float(bool(power.slowed_by))
    yield GaugeMetricFamily(
        _PREFIX + "power_slowed", "1: by heat, or to keep to watts.", value=slowed
    )


def _as_number(one: ModelStatus) -> float:
    return float(one.state == "ready")
