"""The next tokens of a sequence: chosen from its rows of logits, compared with what was guessed."""

from collections.abc import Iterable

from ai_assistant.engine.compose import Part
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.sampling import Row, Rows, log_probabilities
from ai_assistant.engine.sequence import Sequence
from ai_assistant.protocol.chunks import FinishReason, TokenLogprob, TopLogprob


def likeliest(parts: Iterable[Part], logits: Rows) -> list[int] | None:
    """The likeliest token of each row, if no sequence wants anything else; all rows at once."""
    return logits.argmax(axis=1).tolist() if all(_plain(part.sequence) for part in parts) else None


def _plain(sequence: Sequence) -> bool:
    """Its next token is simply the likeliest."""
    return sequence.sampler.plain_greedy and sequence.request.logprobs is None


class Chooser:
    """Lets sequences of one model go on."""

    def __init__(self, model: Model) -> None:
        self._ends = model.vocabulary.ends
        self._piece = model.vocabulary.piece

    def go_on(
        self, part: Part, rows: Rows, best: list[int] | None
    ) -> tuple[int, FinishReason | None]:
        """Append one new token, and as many more as were guessed right.

        `rows` are the logits behind the part and each of its guesses, `best` their likeliest tokens
        where that is all that is wanted. How many guesses were right, and the reason if the
        sequence ends there.
        """
        sequence, draft = part.sequence, part.draft
        right = 0
        while True:
            if best is None:
                token, finish = self._choose(sequence, rows[right])
            else:
                token, finish = best[right], self._append(sequence, best[right], None)
            if finish or right == len(draft) or draft[right] != token:
                return right, finish
            right += 1

    def _choose(self, sequence: Sequence, row: Row) -> tuple[int, FinishReason | None]:
        wanted = sequence.request.logprobs is not None
        raw = row.copy() if wanted else row
        token = sequence.sampler.choose(row, sequence.tokens)
        logprob = self._logprob(sequence, raw, token) if wanted else None
        return token, self._append(sequence, token, logprob)

    def _append(
        self, sequence: Sequence, token: int, logprob: TokenLogprob | None
    ) -> FinishReason | None:
        """The sequence goes on with `token`; the reason if it ends with it."""
        sequence.tokens.append(token)
        sequence.sampler.accept(token)
        finish: FinishReason | None = None
        if token in self._ends and not sequence.request.ignore_eos:
            sequence.output.end_token(token)
            finish = "stop"
        elif sequence.output.push(token):
            finish = "stop"
        elif len(sequence.tokens) >= sequence.limit:
            finish = "length"
        if logprob and not (finish == "stop" and token in self._ends):
            sequence.output.logprobs.append(logprob)
        return finish

    def _logprob(self, sequence: Sequence, row: Row, token: int) -> TokenLogprob:
        count = sequence.request.logprobs or 0
        chosen, ids, values = log_probabilities(row, token, count)
        top = tuple(
            TopLogprob(self._piece(i).decode("utf-8", "replace"), self._piece(i), value)
            for i, value in zip(ids, values, strict=True)
        )
        piece = self._piece(token)
        return TokenLogprob(piece.decode("utf-8", "replace"), piece, chosen, top)
