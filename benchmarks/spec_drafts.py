"""With a draft model against without: the section `drafts` of `benchmarks.spec`.

Three nodes get the same questions in turns: one without a draft model, one with a draft that is
always right, one with a hopeless one (`benchmarks/draft_pair.py`; both are named by the settings,
so they are loaded whatever the plan thinks of them). Answers are new text, greedily, one stream:
nothing in the request helps to guess. The share of right tokens is made, not found: it says what a
draft is worth at both ends, and that one which is worth nothing switches itself off.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks import draft_pair, node
from benchmarks.client import Answer, talk
from benchmarks.report import Record
from benchmarks.rounds import compared, in_turns, loaded
from benchmarks.servers import Server
from benchmarks.ties import is_tie, steps

SETTING = "AI_ASSISTANT_ENGINE_DRAFT"
TOKENS = 160
LEAST = 0.97
"""Of the rate without, for a draft model that is worth nothing."""


def records(rounds: int, size: str = "1b") -> list[Record]:
    """Starts the nodes and measures."""
    large = draft_pair.large(size)
    with ExitStack() as running:
        servers = [
            running.enter_context(
                node.start(
                    large,
                    slots=2,
                    context=2048,
                    extra=("--model", str(draft)) if draft else (),
                    environment={SETTING: draft.stem if draft else "off"},
                )
            )
            for draft in (None, draft_pair.right(size), draft_pair.hopeless(size))
        ]
        return asyncio.run(_measure(servers, rounds))


async def _measure(servers: Sequence[Server], rounds: int) -> list[Record]:
    for server in servers:
        await loaded(server)
    rates: dict[Server, list[float]] = {server: [] for server in servers}
    apart = dict.fromkeys(servers, 0)
    for turn in range(rounds):
        print(f"drafts: round {turn + 1} of {rounds} …", flush=True)
        answers: dict[Server, Answer] = {}
        for server in in_turns(servers, turn):
            answers[server] = await _ask(server, turn)
        for server, answer in answers.items():
            rates[server].append(_rate(answer))
            if answer.text != answers[servers[0]].text:
                honest = await _ask(servers[0], turn, logprobs=True, top_logprobs=10)
                apart[server] += not is_tie(steps(honest), answer.text)
    plain, right, hopeless = servers
    return [
        compared("drafts: always right", "tokens/s", rates[right], rates[plain], at_least=1.0),
        *await _told("drafts: always right", right, apart[right]),
        compared(
            "drafts: hopeless", "tokens/s", rates[hopeless], rates[plain], at_least=LEAST
        ),
        *await _told("drafts: hopeless", hopeless, apart[hopeless]),
    ]  # fmt: skip


async def _ask(server: Server, turn: int, **options: bool | int) -> Answer:
    text = f"Question {turn}: what is a boat made of, and who would know?"
    message = {"role": "user", "content": text}
    return await talk(server, [message], TOKENS, ignore_eos=True, **options)


def _rate(answer: Answer) -> float:
    last = answer.events[-1][0] - answer.started
    return (answer.usage["completion_tokens"] - 1) / (last - answer.first_token_seconds)


async def _told(name: str, server: Server, apart: int) -> list[Record]:
    status = await asyncio.to_thread(node.engine_status, server)
    drafted, right = status["drafted_from_model"], status["accepted_from_model"]
    share = 100 * right / drafted if drafted else 0.0
    return [
        Record(f"{name}, right, of {drafted:,} verified", share, "%"),
        Record(f"{name}, spent on the draft model", status["draft_seconds"], "s"),
        Record(f"{name}, differs not at a tie", apart, "", bar="0", holds=not apart),
    ]
