"""Our node against llama.cpp's server on a GPU that holds the whole model: one stream and 32.

`python -m benchmarks.gpu [--models 1b 7b] [--rounds N] [--quick]`

Both servers of a pair stay loaded, all layers on the GPU, and are asked in turns. Guesses are in
our figures (it is our default); lines of their own are without.
"""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, replace

from benchmarks import llama_server, node
from benchmarks.client import ask, ask_together
from benchmarks.models import ensure
from benchmarks.prompts import Prompts
from benchmarks.report import Record, publish
from benchmarks.rounds import alternate, arguments, compared, loaded, rate
from benchmarks.servers import Server

STREAMS = 32
CONTEXT = 2048
PLAIN = {"AI_ASSISTANT_ENGINE_SPECULATION": "false"}


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    rounds: int = 5
    tokens: int = 256
    words: int = 1000


async def one(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Tokens per second of one stream."""
    return rate([await ask(server, prompts.question(), effort.tokens)])


async def many(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Tokens per second of all streams together."""
    questions = [prompts.question() for _ in range(STREAMS)]
    return rate(await ask_together(server, questions, effort.tokens))


async def prefill(server: Server, prompts: Prompts, effort: Effort) -> float:
    """Prompt tokens per second, with one token of answer."""
    answer = await ask(server, prompts.words(effort.words), 1)
    return answer.usage["prompt_tokens"] / answer.first_token_seconds


SCENARIOS = (
    ("decode, 1 stream", one, 0.97),
    (f"decode, {STREAMS} streams", many, 1.1),
    ("prefill", prefill, 0.97),
)


async def measure(model: str, effort: Effort, servers: list[Server]) -> list[Record]:
    """All figures of one model."""
    for server in servers:
        await loaded(server)
        await ask_together(server, [Prompts("warm", n).question() for n in range(STREAMS)], 8)
    found: list[Record] = []
    for name, scenario, least in SCENARIOS:

        async def round_of(server: Server, turn: int, ask_it=scenario, name=name) -> float:  # type: ignore[no-untyped-def]
            return await ask_it(server, Prompts(model, name, server.name, turn), effort)

        print(f"{model}: {name} …", flush=True)
        ours, plain, theirs = await alternate(servers, effort.rounds, round_of)
        found.append(compared(f"{model}: {name}", "tokens/s", ours, theirs, at_least=least))
        found.append(compared(f"{model}: {name}, no guesses", "tokens/s", plain, theirs))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(models=["1b", "7b"])
    args = parser.parse_args()
    effort = Effort(rounds=2, tokens=64) if args.quick else Effort()
    effort = replace(effort, rounds=args.rounds or effort.rounds)
    found: list[Record] = []
    for model in args.models:
        path, sizes = ensure(model), {"slots": STREAMS, "context": CONTEXT}
        with ExitStack() as stack:
            servers = [
                stack.enter_context(node.start(path, **sizes)),
                stack.enter_context(node.start(path, **sizes, environment=PLAIN)),
                stack.enter_context(llama_server.start(path, **sizes, extra=("-ngl", "999"))),
            ]
            found += asyncio.run(measure(model, effort, servers))
    publish("gpu-quick" if args.quick else "gpu", found, notes=NOTES)


NOTES = ("Peer: llama-server of the same source, --parallel 32, all layers on the GPU.",)


if __name__ == "__main__":
    main()
