"""Guessing tokens ahead against not guessing: our node with speculation on and off.

`python -m benchmarks.spec [--models starter 0.5b 1b drafts] [--rounds N] [--quick]`

Both nodes get the same questions in turns, greedily, one at a time. The rate is that of decode:
from the first token to the last. Three kinds of work:

edit   A text of twenty sentences, to be written again with a word changed here and there: in about
       every second sentence, or (`edit, few changes`) in every eighth. Files that people change are
       gentler still: in 126 changes of this repository's own files, 150 tokens lie between two.
form   A JSON form of sixteen fields, to be written again with some values changed, as often (the
       starter: to be filled in from a text).
prose  New text.

Who can copy? Not the shapes with random weights. For `0.5b` and `1b`, edit and form are asked of
copiers (`benchmarks/copier.py`): of the same sizes and costs, but built so that they really say the
text again, with their changes, by attention alone; nothing in the request helps. They are surer of
each token than a trained model is, so what they show is what is gained where guesses come true.
Their prose is that of the random shape, whose next token nothing announces.

The starter is a real model, but 38 million parameters do not edit twenty sentences by themselves.
So its edit and form are forced by `guided_regex`: only the right text is allowed. The engine still
computes, masks, samples and verifies every token, so the time is real; but the model may cut the
text into other tokens than the prompt's, which makes guesses fail that would be right, and where
an engine writes forced tokens without asking the model, or does not guess under a grammar, its
ratio is not that of speculation. Its prose is its own.

`drafts`, or `drafts-7b` for a GPU, first among the models: with a draft model against without
(`benchmarks/spec_drafts.py`).

Answers of both nodes must be the same but for ties between two tokens (`benchmarks/ties.py`).
"""

import asyncio
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import copier, node, spec_drafts
from benchmarks.client import Answer, ask, talk
from benchmarks.models import ensure
from benchmarks.report import Record, publish
from benchmarks.rounds import SLOTS, arguments, compared, idle, in_turns, warm
from benchmarks.servers import Server
from benchmarks.ties import is_tie, steps


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return text.split(", ")


CONTEXT = 2048
DRAFTS = "drafts"
OFF = {"AI_ASSISTANT_ENGINE_SPECULATION": "false"}
NAMES = _words(
    "Anna Ben Clara David Emma Frank Grace Henry Ida Jack "
    "Kate Leo Mary Nick Olga Paul Rosa Sam Tom Will"
)
DEEDS = _words("saw found painted sold liked carried wanted cleaned opened bought lost drew")
PLAIN = _words("green heavy wooden quiet long round")
OFTEN, SELDOM = 5 / 11, 1 / 8
"""The share of words that a copier changes."""
THINGS = _words(
    "boat house door tree dog book table garden stone bridge "
    "hat lamp horse river chair cup bird road ball ship"
)
FIELDS = [
    f"{a} {b}" for a in _words("first second third last") for b in _words("note sign part rule")
]
PLACES = _phrases(
    "at home, in town, by the sea, after lunch, before dawn, near the wall, with a friend"
)


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int
    tokens: int = 160
    """Of an answer that does not end by itself."""


FULL = {"starter": Effort(9), "0.5b": Effort(5), "1b": Effort(3, tokens=96)}
QUICK = Effort(1, tokens=48)


@dataclass(frozen=True)
class Task:
    """A question. A chat where the model understands one, else plain text to be continued."""

    kind: str
    text: str
    chat: bool
    right: str | None = None
    """What an answer must begin with, if that can be said."""
    options: dict[str, Any] = field(default_factory=dict)

    async def ask(self, server: Server, tokens: int, **options: Any) -> Answer:
        """Its answer."""
        options = {**self.options, **options}
        if self.chat:
            return await talk(server, [{"role": "user", "content": self.text}], tokens, **options)
        return await ask(server, self.text, tokens, **options)


def _kind(chance: random.Random, changed: float) -> str:
    """A word, with that chance one that a copier changes."""
    return chance.choice(list(copier.EDITS) if chance.random() < changed else PLAIN)


def story(chance: random.Random, changed: float = OFTEN) -> str:
    """A text of twenty sentences, no two alike."""
    sentences = [
        f"{name} {chance.choice(DEEDS)} the {_kind(chance, changed)} {thing} "
        f"{chance.choice(PLACES)}."
        for name, thing in zip(_shuffled(NAMES, chance), _shuffled(THINGS, chance), strict=True)
    ]
    return " ".join(sentences)


def form(chance: random.Random, changed: float = OFTEN) -> dict[str, str]:
    """Sixteen fields, no two values alike."""
    things = _shuffled(THINGS, chance)[: len(FIELDS)]
    values = (f"{_kind(chance, changed)} {thing}" for thing in things)
    return dict(zip(FIELDS, values, strict=True))


def _shuffled(words: Sequence[str], chance: random.Random) -> list[str]:
    return chance.sample(words, len(words))


def copied(chance: random.Random) -> list[Task]:
    """What a copier does by itself."""
    tasks: list[Task] = []
    for few, changed in (("", OFTEN), (", few changes", SELDOM)):
        text, fields = story(chance, changed), json.dumps(form(chance, changed))
        again = (
            ("edit", "This is the whole text of the story:", text),
            ("form", "This is the whole form with all its fields:", fields),
        )
        tasks += [
            Task(kind + few, f"{head}\n{body}\n{head}\n", chat=False, right=copier.edited(body))
            for kind, head, body in again
        ]
    return tasks


def forced(chance: random.Random) -> list[Task]:
    """What any model does when nothing else is allowed."""
    text, fields = story(chance), form(chance)
    said = " ".join(f"The {name} is a {value}." for name, value in fields.items())
    empty = json.dumps(dict.fromkeys(fields, ""))
    swaps = ", ".join(f"{word} by {other}" for word, other in copier.EDITS.items())
    return [
        _forced("edit", f"Write this again, but replace {swaps}: {text}", copier.edited(text)),
        _forced("form", f"{said} Fill in this form: {empty}", json.dumps(fields)),
    ]


def _forced(kind: str, text: str, right: str) -> Task:
    pattern = re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", right)
    options = {"guided_regex": pattern, "ignore_eos": False}
    return Task(kind, text, chat=True, right=right, options=options)


def prose(chance: random.Random, *, endless: bool) -> Task:
    """A tale. A model without sense is not asked to end it."""
    kind, thing, name = _kind(chance, OFTEN), chance.choice(THINGS), chance.choice(NAMES)
    text = f"Tell me a story about {name} and a {kind} {thing}."
    return Task("prose", text, chat=True, options={"ignore_eos": endless})


def decode_rate(answer: Answer) -> float:
    """Tokens per second after the first."""
    last = answer.events[-1][0] - answer.started
    return (answer.usage["completion_tokens"] - 1) / (last - answer.first_token_seconds)


@dataclass
class Found:
    """The rates of one kind of work, and what was odd."""

    rates: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    asked: int = 0
    right: int = 0
    differ: int = 0
    """Answers that are not the same with speculation as without."""
    apart: int = 0
    """Of these: not at a tie."""
    problems: list[str] = field(default_factory=list)

    async def add(self, task: Task, answers: Sequence[Answer], slow: Server, tokens: int) -> None:
        """One question's answers, with speculation and without."""
        ours, honest = answers
        for rates, answer in zip(self.rates, answers, strict=True):
            rates.append(decode_rate(answer))
        self.asked += 1
        self.right += task.right is None or task.right.startswith(ours.text[: len(task.right)])
        if ours.text != honest.text:
            self.differ += 1
            self.problems.append(f"{task.kind}: {ours.text!r} is not {honest.text!r}")
            self.apart += not (task.chat and await _tied(task, ours.text, slow, tokens))


async def _tied(task: Task, text: str, slow: Server, tokens: int) -> bool:
    answer = await task.ask(slow, tokens, logprobs=True, top_logprobs=10)
    return is_tie(steps(answer), text)


async def measure(
    model: str, pair: Sequence[Server], effort: Effort, kinds: Sequence[str]
) -> list[Record]:
    """The chosen kinds of work, on one file."""
    for server in pair:
        await warm(server)
    records = [idle(f"{model}: {' and '.join(kinds)}", pair)]
    found = {kind: Found() for kind in kinds}
    before = await asyncio.to_thread(node.engine_status, pair[0])
    for turn in range(effort.rounds):
        print(f"{model}: {', '.join(kinds)}, round {turn + 1} of {effort.rounds} …", flush=True)
        for task in tasks(model, turn):
            if task.kind in kinds:
                answers = {
                    server: await task.ask(server, length(task, effort))
                    for server in in_turns(pair, turn)
                }
                both = [answers[server] for server in pair]
                await found[task.kind].add(task, both, pair[1], length(task, effort))
    for kind in kinds:
        records += describe(f"{model}: {kind}", kind, found[kind])
    after = await asyncio.to_thread(node.engine_status, pair[0])
    return [*records, guesses(f"{model}: {' and '.join(kinds)}", before, after)]


def tasks(model: str, turn: int) -> list[Task]:
    """The questions of one round."""
    chance = random.Random(repr((model, turn)))
    given = forced(chance) if model == "starter" else copied(chance)
    return [*given, prose(chance, endless=model != "starter")]


def length(task: Task, effort: Effort) -> int:
    """Tokens at most. A forced answer ends with its text."""
    return 600 if "guided_regex" in task.options else effort.tokens


def describe(name: str, kind: str, found: Found) -> list[Record]:
    """Rates and sameness of one kind of work."""
    bar = 0.97 if kind == "prose" else 1.8
    wrong = Record(f"{name}, differs not at a tie", found.apart, "", bar="0", holds=not found.apart)
    records = [
        compared(name, "tokens/s", *found.rates, at_least=bar),
        Record(f"{name}, differs from slow path", 100 * found.differ / found.asked, "%"),
        wrong,
    ]
    if kind != "prose":
        records.append(Record(f"{name}, right", 100 * found.right / found.asked, "%"))
    return records


def guesses(name: str, before: dict[str, Any], after: dict[str, Any]) -> Record:
    """How many guesses came true, of how many; for nodes that tell."""
    drafted, accepted = (
        after.get(key, 0) - before.get(key, 0) for key in ("drafted_tokens", "accepted_tokens")
    )
    share = 100 * accepted / drafted if drafted else 0.0
    return Record(f"{name}, guesses that came true, of {drafted:,}", share, "%")


def files(model: str) -> list[tuple[Any, Sequence[str]]]:
    """Which file does which kinds of work."""
    if model == "starter":
        return [(ensure(model), ("edit", "form", "prose"))]
    copies = ("edit", "form", "edit, few changes", "form, few changes")
    return [(copier.ensure(model), copies), (ensure(model), ("prose",))]


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(models=["starter", "0.5b", "1b", DRAFTS])
    args = parser.parse_args()
    records: list[Record] = []
    for model in (model for model in args.models if model.startswith(DRAFTS)):
        size = model.removeprefix(DRAFTS).removeprefix("-") or "1b"
        records += spec_drafts.records(args.rounds or (1 if args.quick else 4), size)
    for model in (model for model in args.models if not model.startswith(DRAFTS)):
        effort = QUICK if args.quick else FULL.get(model, Effort(3))
        effort = replace(effort, rounds=args.rounds or effort.rounds)
        for path, kinds in files(model):
            sizes = {"slots": SLOTS, "context": CONTEXT}
            with (
                node.start(path, **sizes) as guessing,
                node.start(path, **sizes, environment=OFF) as honest,
            ):
                records += asyncio.run(measure(model, (guessing, honest), effort, kinds))
    name = f"spec-{args.models[0]}" if args.models[0].startswith(DRAFTS) else "spec"
    publish(f"{name}-quick" if args.quick else name, records, notes=NOTES)


NOTES = (
    "Peer: our own node with AI_ASSISTANT_ENGINE_SPECULATION=false. Greedy, one stream.",
    "Edit and form: the starter forced by a regex; other sizes by copiers (benchmarks/copier.py).",
    "A change about every 19 tokens; every 70 where there are few.",
)


if __name__ == "__main__":
    main()
