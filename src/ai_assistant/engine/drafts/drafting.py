"""A draft model's guesses for the streams of a step: whom to draft for, how far, and at what cost.

Only between steps in which nothing but streams is computed: a prompt never waits for a draft. What
the draft model does not know of a sequence yet it reads in pieces, beside the stream's own steps.
"""

import time
from array import array
from collections.abc import Callable
from collections.abc import Sequence as Items

import msgspec

from ai_assistant.engine.drafts.account import Account
from ai_assistant.engine.drafts.loading import warn
from ai_assistant.engine.drafts.model import CHUNK, DraftModel
from ai_assistant.engine.drafts.slots import Slot, agree
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.speculation.drafter import Drafter, Guess
from ai_assistant.engine.speculation.policy import MODEL, sure
from ai_assistant.engine.speculation.rounds import NONE, Choice, another_round, choose_rounds

BEHIND = 8
"""Tokens that the draft model may lag behind and catch up with in its first round."""
LEAST_PIECE = 16
"""Tokens of a sequence that it reads at once, at least."""

Seconds = Callable[[int], float]


class Stream(msgspec.Struct, eq=False):
    """A sequence that would be drafted for."""

    index: int
    """Of its part in the step."""
    sequence: Sequence
    drafter: Drafter
    slot: Slot | None
    drafted: list[int] = []
    levels: list[int] = []
    chain: float = 1.0
    """The chance that all of these are right."""

    @property
    def chance(self) -> float:
        """That any token of the draft model's is right."""
        return self.drafter.acceptance.expected[MODEL]

    @property
    def lag(self) -> int:
        """Tokens that the draft model has not computed, the newest one included."""
        return len(self.sequence.tokens) - (self.slot.agreed if self.slot else 0)

    @property
    def left(self) -> int:
        """Tokens that could be drafted before the answer must end."""
        return self.sequence.limit - len(self.sequence.tokens) - 1 - len(self.drafted)


class Drafting:
    """The draft model of one engine, and what it costs and brings."""

    def __init__(self, model: DraftModel) -> None:
        self._model: DraftModel | None = model
        self.account = Account()
        self.seconds = 0.0
        """Spent on it in all."""
        self._price = 0.0
        """Seconds for which a step gives one token to one stream."""
        self._plain = 0.0
        """Seconds of the latest step as it would be without guesses."""
        self._verifying = 0.0
        """Predicted seconds of the latest step with the draft model's tokens in it; 0: none are."""
        self._lent = 0.0
        """Seconds of the latest guess that the account does not pay for."""
        self._least = 0.0
        """Predicted seconds of the latest guess."""

    @property
    def bytes(self) -> int:
        """Of its weights; 0 when it was given up."""
        return self._model.bytes if self._model else 0

    def drop(self) -> None:
        """Give its memory back, for good."""
        if self._model:
            self._model.close()
            self._model = None

    def finish(self, sequence: Sequence) -> None:
        """Its answer is complete."""
        if self._model:
            self._model.slots.release(sequence)

    def guess(
        self,
        wanted: Items[tuple[int, Sequence, Drafter]],
        streams: int,
        step_seconds: Seconds,
        room: int,
        threads: int,
    ) -> dict[int, Guess]:
        """Guesses for some of these sequences, by their number; `streams` are in the step in all,
        and `room` tokens may be drafted."""
        model = self._model
        if model is None:
            return {}
        self._plain = plain = step_seconds(streams)
        self._price = plain / streams
        self._verifying = self._lent = self._least = 0.0
        self.account.worked(step_seconds(1), plain)
        if not wanted or not self.account.solvent:
            return {}
        begun = time.perf_counter()
        try:
            model.use_threads(threads)
            found = [Stream(*one, model.slots.of(one[1])) for one in wanted]
            self._compare(found)
            return self._guess(model, found, streams, step_seconds, room)
        except Exception as error:  # noqa: BLE001 - the streams go on without it
            warn(f"The draft model is given up: {error}")
            self.drop()
            return {}
        finally:
            seconds = time.perf_counter() - begun
            self.seconds += seconds
            self.account.spent(max(seconds - self._lent, self._least))

    def granted(self, tokens: int, step: int, step_seconds: Seconds) -> None:
        """So many of its tokens are verified in a step of `step` tokens, these included."""
        self._plain = step_seconds(step - tokens)
        self._verifying = step_seconds(step)

    def stepped(self, seconds: float) -> None:
        """The step took so long in the kernels."""
        if self._verifying:
            self.account.spent(max(seconds, self._verifying) - self._plain)
            self._verifying = 0.0

    def accepted(self, tokens: int) -> None:
        """So many were right."""
        self.account.gained(tokens * self._price)

    def _compare(self, found: list[Stream]) -> None:
        """Earlier guesses with what came, whether they were verified or not."""
        for one in found:
            if one.slot is None:
                continue
            agree(one.slot, one.sequence)
            slot, tokens = one.slot, one.sequence.tokens
            for place, (token, level) in enumerate(
                zip(slot.drafted, slot.levels, strict=True), slot.start
            ):
                if place >= len(tokens):
                    break
                right = tokens[place] == token
                one.drafter.acceptance.observe(MODEL, right)
                one.drafter.acceptance.observe(level, right)
                self.account.observed += 1
                if not right:
                    break
            slot.drafted, slot.levels = [], []

    def _guess(
        self,
        model: DraftModel,
        found: list[Stream],
        streams: int,
        step_seconds: Seconds,
        room: int,
    ) -> dict[int, Guess]:
        near = [one for one in found if one.lag <= BEHIND and one.left > 0]
        asked, choice = _best(near, streams, step_seconds, model.seconds, room)
        if not choice.rounds and near and self.account.full:
            asked, choice = near[:1], Choice(1, 0.0)  # A trial, to see whether it became better.
        far = next((one for one in found if one.lag > BEHIND and one.left > BEHIND), None)
        if far:
            self._read(model, far, streams, step_seconds, room)
        return self._ask(model, asked, choice.rounds, streams, step_seconds) if asked else {}

    def _read(
        self, model: DraftModel, one: Stream, streams: int, step_seconds: Seconds, room: int
    ) -> None:
        """Let it read a piece of a sequence that it does not know, if that is worth it. No longer
        than a step takes: the streams wait for it."""
        choice = choose_rounds([one.chance], streams, step_seconds, model.seconds, room)
        if not self.account.full and not choice.rounds:
            return
        lag = one.lag if one.slot else one.lag - model.slots.known(one.sequence)
        cost = model.seconds(CHUNK) * lag / CHUNK
        written, left = one.sequence.generated, one.left
        if not self.account.worth(cost, choice.gain, written, left):
            return
        most = model.times.tokens_within(step_seconds(streams))
        piece = min(max(lag - 1, 1), max(LEAST_PIECE, min(CHUNK, most)))
        if (slot := _place(model, one, piece)) is None:
            return
        start = slot.agreed
        paid = self.account.affords(cost)
        seconds = model.read(slot, one.sequence.tokens[start : start + piece])
        slot.agreed = start + piece
        if not paid:
            self._lent = seconds

    def _ask(
        self,
        model: DraftModel,
        asked: list[Stream],
        rounds: int,
        streams: int,
        step_seconds: Seconds,
    ) -> dict[int, Guess]:
        """Rounds of drafting, a token for each sequence in each."""
        active = [one for one in asked if _place(model, one, one.lag + rounds)]
        size = sum(one.lag for one in active)
        worth, drafting = float(streams), 0.0
        for _ in range(rounds if active else 0):
            self._round(model, active)
            drafting += model.seconds(size)
            worth += sum(one.chain for one in active)
            active = [one for one in active if not _ended(one, model)]
            size, step = len(active), streams + sum(len(one.drafted) for one in asked)
            more = model.seconds(size) + step_seconds(step + size) - step_seconds(step)
            chains = [one.chain for one in active]
            chances = [one.chance for one in active]
            if not another_round(worth, step_seconds(step) + drafting, chains, chances, more):
                break
        self._least = drafting
        return {one.index: _as_guess(one) for one in asked if one.drafted}

    def _round(self, model: DraftModel, active: list[Stream]) -> None:
        batch: list[tuple[Slot, array[int]]] = []
        for one in active:
            assert one.slot
            fresh = array("i", one.drafted[-1:]) or one.sequence.tokens[one.slot.agreed :]
            batch.append((one.slot, fresh))
        for one, (token, chance) in zip(active, model.ask(batch), strict=True):
            level = sure(chance)
            one.drafted.append(token)
            one.levels.append(level)
            one.chain *= one.drafter.acceptance.expected[level]


def _best(
    near: list[Stream],
    streams: int,
    step_seconds: Seconds,
    draft_seconds: Seconds,
    room: int,
) -> tuple[list[Stream], Choice]:
    """For whom to draft: those whose drafts are right most often, as many as pay."""
    order = sorted(near, key=lambda one: -one.chance)
    best, asked = NONE, list[Stream]()
    for count in range(1, len(order) + 1):
        some = order[:count]
        lag = sum(one.lag for one in some)
        chances = [one.chance for one in some]
        choice = choose_rounds(chances, streams, step_seconds, draft_seconds, room, first=lag)
        if choice.gain > best.gain:
            best, asked = choice, some
    return asked, best


def _place(model: DraftModel, one: Stream, more: int) -> Slot | None:
    """The stream's place, with room for so many more tokens; None where there is none."""
    if one.slot is None:
        one.slot = model.slots.take(one.sequence)
        if one.slot is None:
            return None
        agree(one.slot, one.sequence)
    model.trim(one.slot, one.slot.agreed)
    gone = model.slots.crowding(more)
    if gone is None:
        return None
    for slot in gone:
        model.trim(slot, 0)
    return one.slot


def _ended(one: Stream, model: DraftModel) -> bool:
    """Whether nothing can follow what was drafted for it."""
    return one.drafted[-1] in model.ends or one.left <= 0


def _as_guess(one: Stream) -> Guess:
    assert one.slot
    one.slot.start = len(one.sequence.tokens)
    one.slot.drafted, one.slot.levels = one.drafted, one.levels
    return one.drafter.modelled(one.drafted, one.levels)
