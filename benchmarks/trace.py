"""Sixteen users who talk about long documents that they share, beside llama-server.

`python -m benchmarks.trace [--models starter 0.5b 1b] [--rounds N] [--quick]`

Four documents of about 1,500 words (600 where the context is small); each user has one of them as
the system prompt, asks three short questions and gets 32 tokens for each; between an answer and the
next question passes a random time. Documents, questions and times come from a seed, new ones in
every round, the same for both servers.

Both have 16 places and the same memory for context: 16 whole conversations. llama-server divides it
by its default, one conversation's share for each place, so that every user fits; our node gets the
same number of cells in its one pool. What a server does with the memory is its own affair: sharing
the documents in it is what is measured. A third server is llama-server as it comes, with the same
memory and whatever number of places it takes by itself. A round's rate counts the tokens of prompts
and answers as the servers' usage says, cached ones too, from the first question to the last token:
all do the same trace, so the ratio is that of the times, think time included.

At the end one user talks to our node alone: with less than the first token of a later turn takes
there no server can answer, however many others it keeps waiting.
"""

import asyncio
import contextlib
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import llama_server, node
from benchmarks.client import Answer, talk
from benchmarks.models import context_length, ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import alternate, arguments, compared, idle, loaded
from benchmarks.servers import Server

DOCUMENTS = 4
TURNS = 3
ANSWER = 32
ROOM = 512
"""Tokens of three turns and of what words are more than tokens."""


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int
    words: int = 3000
    users: int = 16
    think: float = 2.0
    """Mean seconds between an answer and the next question."""


FULL = {
    "starter": Effort(5, words=600, think=0.5),
    "0.5b": Effort(1, words=1500),
    "1b": Effort(1, words=1500),
}
QUICK = Effort(1, words=300, users=8, think=0.2)


@dataclass(frozen=True)
class User:
    """One who talks: the document, and when which question follows."""

    document: str
    questions: tuple[str, ...]
    pauses: tuple[float, ...]

    async def talk(self, server: Server) -> list[Answer]:
        """Ask all questions."""
        messages = [{"role": "system", "content": self.document}]
        answers: list[Answer] = []
        for pause, question in zip(self.pauses, self.questions, strict=True):
            await asyncio.sleep(pause)
            messages.append({"role": "user", "content": question})
            answers.append(await talk(server, messages, ANSWER))
            messages.append({"role": "assistant", "content": answers[-1].text})
        return answers


def generate(effort: Effort, *seed: object) -> list[User]:
    """The users of one round. The first questions come one after the other, as people do."""
    prompts, chance = Prompts(*seed), random.Random(repr(seed))
    documents = [prompts.words(effort.words) for _ in range(DOCUMENTS)]
    return [
        User(
            document=documents[n % DOCUMENTS],
            questions=tuple(prompts.question() for _ in range(TURNS)),
            pauses=tuple(chance.expovariate(1 / effort.think) for _ in range(TURNS)),
        )
        for n in range(effort.users)
    ]


@dataclass(frozen=True)
class Outcome:
    """What one round of one server came to."""

    rate: float
    """Tokens per second, prompts and answers."""
    first_token: float
    """Milliseconds, median."""
    last_turns: float
    """The same of all turns but the first."""


def outcome(users: list[list[Answer]]) -> Outcome:
    """The figures of one round."""
    answers = [answer for mine in users for answer in mine]
    tokens = sum(a.usage["prompt_tokens"] + a.usage["completion_tokens"] for a in answers)
    seconds = max(a.ended for a in answers) - min(a.started for a in answers)
    later = [answer for mine in users for answer in mine[1:]]
    return Outcome(tokens / seconds, _first_token(answers), _first_token(later))


def _first_token(answers: list[Answer]) -> float:
    return 1000 * statistics.median(answer.first_token_seconds for answer in answers)


def measure_model(model: str, effort: Effort) -> list[Record]:
    """All figures of one model."""
    path = ensure(model)
    words = min(effort.words, (context_length(path) - ROOM) * 9 // 10)
    effort = replace(effort, words=words)
    with started(path, effort) as pair:
        calm, (ours, *peers), alone = asyncio.run(_outcomes(model, effort, pair))
    title = f"{model}, {words:,} words a document"
    return [
        calm,
        *_against(f"{title}: 16 places", ours, peers[0], alone),
        *_against(f"{title}: as it comes", ours, peers[1], alone),
    ]


def _against(
    title: str, ours: list[Outcome], theirs: list[Outcome], alone: list[float]
) -> list[Record]:
    """The figures beside one peer."""
    return [
        compared(
            f"{title}: all tokens",
            "tokens/s",
            [each.rate for each in ours],
            [each.rate for each in theirs],
            at_least=1.5,
        ),
        compared(
            f"{title}: first token, median",
            "ms",
            [each.first_token for each in ours],
            [each.first_token for each in theirs],
            at_most=1 / 4,
        ),
        compared(
            f"{title}: first token of second and third turns, median",
            "ms",
            [each.last_turns for each in ours],
            [each.last_turns for each in theirs],
        ),
        compared(
            f"{title}: the floor, a later turn's first token with nobody else",
            "ms",
            alone,
            [each.first_token for each in theirs],
        ),
    ]


async def _outcomes(
    model: str, effort: Effort, pair: tuple[Server, ...]
) -> tuple[Record, list[list[Outcome]], list[float]]:
    for server in pair:
        await loaded(server)

    async def round_of(server: Server, turn: int) -> Outcome:
        print(f"{model}: round {turn + 1} of {effort.rounds}, {server.name} …", flush=True)
        users = generate(effort, model, turn)
        return outcome(await asyncio.gather(*(user.talk(server) for user in users)))

    calm = idle(model, pair)
    rounds = await alternate(pair, effort.rounds, round_of)
    alone: list[float] = []
    for turn in range(effort.rounds):
        answers = await generate(effort, model, turn, "alone")[0].talk(pair[0])
        alone.append(_first_token(answers[1:]))
    return calm, rounds, alone


@contextlib.contextmanager
def started(path: Path, effort: Effort) -> Iterator[tuple[Server, ...]]:
    """Our node and its peers, with a context of the same size in all."""
    context = -(-(effort.words * 11 // 10 + ROOM) // 256) * 256
    sizes = {"slots": effort.users, "context": min(context, context_length(path))}
    cells = {"AI_ASSISTANT_ENGINE_CELLS": str(sizes["slots"] * sizes["context"])}
    with (
        node.start(path, **sizes, environment=cells) as ours,
        llama_server.start(path, **sizes) as theirs,
        llama_server.start(path, **sizes, as_it_comes=True) as default,
    ):
        yield ours, theirs, default


def main() -> None:
    args = arguments(__doc__).parse_args()
    records: list[Record] = []
    for model in args.models:
        effort = QUICK if args.quick else FULL.get(model, Effort(1))
        effort = replace(effort, rounds=args.rounds or effort.rounds)
        records += measure_model(model, effort)
    publish("trace-quick" if args.quick else "trace", records, notes=NOTES)


NOTES = (
    "16 places: llama-server of the same source, --parallel 16. As it comes: without that.",
    "All have room for 16 whole conversations; with 16 places llama-server divides it.",
)


if __name__ == "__main__":
    main()
