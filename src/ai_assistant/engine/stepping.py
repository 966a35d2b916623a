"""One step: compute a batch, choose a token for every sequence that is through, send it."""

import time

from ai_assistant.engine.channel import Reports
from ai_assistant.engine.choosing import Chooser, likeliest
from ai_assistant.engine.compose import Part
from ai_assistant.engine.kernels import Batch, Model, NoRoom
from ai_assistant.engine.outbox import Outbox
from ai_assistant.engine.sampling import Rows
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.setup import Parts
from ai_assistant.engine.statistics import Statistics
from ai_assistant.protocol.errors import AssistantError, EngineError
from ai_assistant.protocol.frames import Failed

CHECKPOINT = 4096
"""Tokens between the states that are kept of a long prompt, where a state cannot be cut."""
HOLD_SECONDS = 1.0
"""How long the disk waits after a step began, unless a rest begins before."""


class Stepping:
    """What the loop does between two looks at its orders: `decode`, then `commit`."""

    def __init__(
        self,
        model: Model,
        parts: Parts,
        statistics: Statistics,
        outbox: Outbox,
        reports: Reports,
    ) -> None:
        self._statistics = statistics
        self._outbox = outbox
        self._reports = reports
        self._chooser = Chooser(model)
        self._step_started = 0.0
        self.kernel_seconds = 0.0
        """Of the last step."""
        self._drafting_until = 0.0
        """Seconds of drafting that are accounted for."""
        self.use(parts)

    def use(self, parts: Parts) -> None:
        """Go on with these."""
        self._context = parts.context
        self._cache = parts.cache
        self._residence = parts.residence
        self._tempo = parts.tempo
        self._guesses = parts.guesses
        self._batcher = parts.batcher
        self._cold = parts.cold
        self._logits: Rows | None = None

    def decode(self, parts: list[Part]) -> bool:
        """Compute one batch; False when it could not be and its sequences were dealt with."""
        if len(parts) < sum(part.count for part in parts):
            # A prompt takes long: what is written already must not wait for it.
            self._outbox.flush()
        self._step_started = time.perf_counter()
        if self._cold:
            self._cold.hold(HOLD_SECONDS)
        batch = self._context.batch
        batch.clear()
        begun = time.perf_counter()
        try:
            for part in parts:
                self._put(batch, part)
            self._tempo.begin(batch.size)
            begun = time.perf_counter()
            self._context.decode(batch)
        except NoRoom:
            if not self._batcher.make_room(parts):
                self._fail(parts, EngineError("its KV cache has no room for this request"))
            return False
        except Exception as error:  # noqa: BLE001 - every sequence of the batch hears of it
            self._fail(parts, error)
            return False
        self._logits = self._context.logits(batch.outputs) if batch.outputs else None
        self.kernel_seconds = time.perf_counter() - begun
        return True

    def _put(self, batch: Batch, part: Part) -> None:
        sequence, start = part.sequence, part.sequence.computed
        tokens = sequence.tokens[start : start + part.count]
        if part.draft:
            tokens.extend(part.draft)
            batch.add(sequence.slot, start, tokens, len(tokens))
        else:
            batch.add(sequence.slot, start, tokens, int(part.count == sequence.remaining))

    def _fail(self, parts: list[Part], error: Exception) -> None:
        """The kernels failed: the state of these sequences is lost, the others go on."""
        self._batcher.unbook(parts)
        for request_id in {part.sequence.request.request_id for part in parts}:
            self._refuse(request_id, EngineError(f"The kernels failed on this request: {error}"))

    def _refuse(self, request_id: str, error: AssistantError) -> None:
        """A request that was accepted ends with an error."""
        for sequence in self._batcher.of_request(request_id):
            self._batcher.finish(sequence, keep=False)
        self._outbox.close(request_id)
        self._reports.send(Failed(request_id, error.info()))

    def commit(self, parts: list[Part]) -> None:
        """Choose a token for each sequence whose tokens are all computed, and send it."""
        ready: list[Part] = []
        prompt_tokens = generated = 0
        for part in parts:
            sequence = part.sequence
            if part.count > 1 or sequence.computed < sequence.prompt_length:
                prompt_tokens += part.count
            sequence.computed += part.count
            if sequence.remaining == 0:
                ready.append(part)
            elif prompt_tokens:
                self._checkpoint(part)
        if ready:
            generated = self._choose(ready)
        self._outbox.tick()
        self._account(parts, prompt_tokens, generated)

    def _account(self, parts: list[Part], prompt_tokens: int, generated: int) -> None:
        """What the step took and brought."""
        drafting = self._guesses.draft_seconds - self._drafting_until
        self._drafting_until += drafting
        seconds = time.perf_counter() - self._step_started + drafting
        self._statistics.step(
            prompt=prompt_tokens,
            generated=generated,
            kernels=self.kernel_seconds,
            outside=seconds - self.kernel_seconds,
        )
        self._tempo.end(self._context.batch.size, self.kernel_seconds)
        self._guesses.stepped(self.kernel_seconds)
        self._statistics.sample(
            self._context.batch.size,
            [max(part.sequence.computed - part.count, 0) for part in parts],
            self.kernel_seconds,
            waited=self._context.batch.outputs > 0,
        )
        self._batcher.spent(parts, seconds)
        if prompt_tokens:
            self._residence.speeds.prefill = self._statistics.prefill.per_second

    def _checkpoint(self, part: Part) -> None:
        """A state that cannot be cut later is kept now and then while a long prompt is computed."""
        computed = part.sequence.computed
        if computed // CHECKPOINT > (computed - part.count) // CHECKPOINT:
            self._residence.saver.checkpoint(part.sequence)

    def _choose(self, ready: list[Part]) -> int:
        """Tokens for all that are ready; how many."""
        logits = self._logits
        assert logits is not None
        best = likeliest(ready, logits)
        chosen = row = 0
        for part in ready:
            rows = 1 + len(part.draft)
            if part.sequence.slot >= 0:  # else its request was refused a moment ago
                try:
                    chosen += self._go_on(part, logits[row : row + rows], best and best[row:])
                except AssistantError as error:
                    self._refuse(part.sequence.request.request_id, error)
                except Exception as error:  # noqa: BLE001 - one bad row must not end the others
                    reason = EngineError(f"No token could be chosen: {error}")
                    self._refuse(part.sequence.request.request_id, reason)
            row += rows
        return chosen

    def _go_on(self, part: Part, rows: Rows, best: list[int] | None) -> int:
        """One new token, and as many more as were guessed right; how many in all."""
        sequence = part.sequence
        if not sequence.first_token_at:
            self._first_token(sequence)
        right, finish = self._chooser.go_on(part, rows, best)
        if part.draft:
            self._settle(part, right)
        if finish:
            self._guesses.finish(sequence)
            self._batcher.finish(sequence)
            self._outbox.finish(sequence, finish)
        else:
            self._outbox.changed(sequence)
        return right + 1

    def _settle(self, part: Part, right: int) -> None:
        """Keep the cells of the guesses that were right, give back the others."""
        sequence = part.sequence
        sequence.computed += right
        if right < len(part.draft):
            self._context.trim(sequence.slot, sequence.computed)
            self._cache.shrink(sequence.slot, sequence.computed)
        self._guesses.verified(sequence, len(part.draft), right)

    def _first_token(self, sequence: Sequence) -> None:
        sequence.first_token_at = time.perf_counter()
        self._statistics.prompt_tokens += sequence.prompt_length
        self._statistics.cached_tokens += sequence.cached
        self._residence.saver.checkpoint(sequence)
