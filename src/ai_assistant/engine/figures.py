"""The engine in figures, as the node, `ps` and the metrics show it."""

import os

import psutil

from ai_assistant.engine.kernels import Model
from ai_assistant.engine.setup import Parts
from ai_assistant.engine.statistics import Statistics
from ai_assistant.kvcache.cold import ColdStatus
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.status import EngineStatus


class Figures:
    """Reads them off the engine's parts."""

    def __init__(
        self, plan: EnginePlan, model: Model, parts: Parts, statistics: Statistics
    ) -> None:
        self._plan = plan
        self._model = model
        self._parts = parts
        self._statistics = statistics
        self._process = psutil.Process()

    def status(self) -> EngineStatus:
        """The engine as it is now."""
        parts, statistics = self._parts, self._statistics
        cache, batcher, residence = parts.cache, parts.batcher, parts.residence
        guesses = parts.guesses
        threads, threads_batch = parts.tempo.threads
        cold = parts.cold.status if parts.cold else ColdStatus()
        return EngineStatus(
            pid=os.getpid(),
            slots=self._plan.slots,
            running=len(batcher.running),
            waiting=len(batcher.waiting) - batcher.parked,
            parked=batcher.parked,
            context_limit=self._plan.context_limit,
            cells_total=parts.context.cells,
            cells_used=parts.context.cells - cache.free_cells,
            cells_retained=cache.retained_cells(),
            warm_bytes=residence.tiers.warm.bytes,
            prompt_tokens=statistics.prompt_tokens,
            cached_tokens=statistics.cached_tokens,
            generated_tokens=statistics.generated_tokens,
            prefill_tokens_per_second=statistics.prefill.per_second,
            decode_tokens_per_second=statistics.decode.per_second,
            steps=statistics.steps,
            decode_ms_mean=statistics.decode_ms,
            python_ms_mean=statistics.python_ms,
            memory_bytes=self._process.memory_info().rss,
            threads=threads,
            threads_batch=threads_batch,
            weights_shared_bytes=self._model.shared_weights,
            weights_own_bytes=self._model.own_weights,
            cores_busy=parts.tempo.load.other_cores,
            warm_hit_tokens=residence.hits.warm,
            cold_hit_tokens=residence.hits.cold,
            preemptions=batcher.preemptions,
            cold_bytes=cold.bytes,
            cold_blocks=cold.blocks,
            cold_written_today=cold.written_today,
            cold_refused=cold.refused,
            drafted_tokens=guesses.drafted,
            accepted_tokens=guesses.accepted,
            drafted_from_text=guesses.drafted_by["text"],
            accepted_from_text=guesses.accepted_by["text"],
            drafted_from_past=guesses.drafted_by["past"],
            accepted_from_past=guesses.accepted_by["past"],
            drafted_from_grammar=guesses.drafted_by["grammar"],
            accepted_from_grammar=guesses.accepted_by["grammar"],
            drafted_from_model=guesses.drafted_by["model"],
            accepted_from_model=guesses.accepted_by["model"],
            draft_seconds=guesses.draft_seconds,
            draft_bytes=guesses.drafting.bytes if guesses.drafting else 0,
        )
