"""Streams that meet a fault each: what their clients see of it.

    python -m benchmarks.failover [--streams 1000] [--seed 1] [--quick]

A node asks a provider that fails in its own way for each stream: a server that is slow, falls
silent, sends comments only, resets or closes the connection in the middle of a frame, sends
nonsense, answers with an error, or is killed. A second provider stands by; for four streams in
five it can go on in the middle of an answer. Most streams come from servers that say a text that is
known before, the others from the starter model on a node of ours, greedy.

A stream is right if its client got the very text that an honest server says. Where a model's text
is another one, it is followed to its end (`retrace`): at the first letter that differs the honest
node's own probabilities must show a close call, and the rest must be what it says from there on,
and so forth; or the whole rest what it says from the joint on, where the text is cut into other
tokens. Anything else is wrong, and is printed with how clear the choice was.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.fakes.fault_proxy import Fault, FaultProxy

from benchmarks import elsewhere, node
from benchmarks.client import GREEDY, Answer, Cut, exchange
from benchmarks.failover_cases import ERRORS, Case, cases
from benchmarks.models import STARTER
from benchmarks.report import Record, publish
from benchmarks.retrace import Token, Trace, path_of, retraced
from benchmarks.servers import Server, free_port
from benchmarks.speaker import Speaker

TOGETHER = {"speaker": 8, "node": 8}
FIRST, BETWEEN = 0.5, 0.4
"""Deadlines of the providers that fail, in seconds."""
NODE_FIRST, NODE_BETWEEN = 3.0, 1.0
"""The same where a model computes, on the cores that everything shares."""
SWITCH_BAR = 50.0
TOKENS = 32
PATIENCE = 60.0
PROBABLE = {"logprobs": True, "top_logprobs": 10}


@dataclass
class Result:
    """What became of all streams."""

    outcomes: Counter[str] = field(default_factory=Counter)
    by_fault: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    problems: list[str] = field(default_factory=list)
    pauses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Milliseconds without a word at the joint, beyond what the deadline allows."""
    switches: list[float] = field(default_factory=list)
    """Milliseconds from a first token's deadline to the next provider."""
    closest: list[float] = field(default_factory=list)
    """Nats of each close call by which a right stream went another way."""

    def note(self, case: Case, outcome: str, problem: str = "") -> None:
        """One stream."""
        self.outcomes[outcome] += 1
        self.by_fault[case.label][outcome] += 1
        if problem:
            self.problems.append(f"{case.name} ({case.voice}, {case.label}): {problem}")


@dataclass
class Stage:
    """Servers, proxies, and when each was asked."""

    cases: dict[str, Case]
    asked: dict[str, float] = field(default_factory=dict)
    """When the provider that stands by was asked, by the case's tag."""
    begun: dict[str, str] = field(default_factory=dict)
    """The beginning that it was given."""

    def strike(self, request: bytes) -> tuple[Fault, bytes]:
        """The provider that fails."""
        if request.startswith(b"GET"):  # a look at how it is doing
            return Fault(), request
        return self.cases[_tag(request)].fault, request

    def stand_by(self, request: bytes) -> tuple[Fault, bytes]:
        """The one that does not."""
        if request.startswith(b"GET"):
            return Fault(), request
        tag = _tag(request)
        self.asked[tag] = time.perf_counter()
        last = _body(request)["messages"][-1]
        if last["role"] == "assistant":
            self.begun[tag] = last["content"]
        return Fault(), request


def _body(request: bytes) -> dict[str, Any]:
    return json.loads(request.partition(b"\r\n\r\n")[2])


def _tag(request: bytes) -> str:
    question = next(m["content"] for m in _body(request)["messages"] if m["role"] == "user")
    return question.split(" ")[0]


async def said(server: Server, model: str, messages: list[dict[str, str]], **more: Any) -> Answer:
    """One greedy stream, to whatever end."""
    body = {
        "model": model, "messages": messages, "stream": True, "max_tokens": TOKENS,
        "stream_options": {"include_usage": True},
        **GREEDY, "ignore_eos": False, **more,
    }  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        return await exchange(server, "/v1/chat/completions", json.dumps(body).encode())


async def victim() -> tuple[asyncio.subprocess.Process, int]:
    """A speaker in a process of its own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.speaker", str(port)
    )
    try:
        for _ in range(200):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return process, port
            await asyncio.sleep(0.05)
        raise RuntimeError("the speaker does not start")
    except BaseException:
        await _end(process)
        raise


def settings(found: list[Case], failing: dict[str, str], standing_by: dict[str, str]) -> str:
    """Each case's own provider; and those that stand by, which can go on and which cannot.

    `failing` by the case's name, `standing_by` by voice: addresses.
    """
    quick = f"connect = 1.0\nfirst_token = {FIRST}\nbetween_tokens = {BETWEEN}"
    calm = f"connect = 1.0\nfirst_token = {NODE_FIRST}\nbetween_tokens = {NODE_BETWEEN}"
    parts = [
        elsewhere.provider(
            f"f{case.number}", failing[case.name], case.kind, names=[case.name],
            deadlines=quick if case.voice == "speaker" else calm,
        )
        for case in found
    ]  # fmt: skip
    for voice, url in standing_by.items():
        for continues in (True, False):
            names = [c.name for c in found if (c.voice, c.continues) == (voice, continues)]
            kind = "llama-server" if voice == "speaker" else "ai-assistant"
            if names:
                parts.append(
                    elsewhere.provider(
                        f"{voice}-{'on' if continues else 'off'}", url, kind, names=names,
                        continues="" if continues else "no", max_requests=256,
                    )
                )  # fmt: skip
    return "".join(parts)


class Honest:
    """What is said where nothing fails: a known text, or what a model says."""

    def __init__(self, text: str, case: Case, upstream: Server | None) -> None:
        self.text = text
        self._case = case
        self._upstream = upstream

    async def begins(self, text: str) -> bool:
        """Whether an answer may begin so."""
        if self.text.startswith(text) or self._upstream is None:
            return self.text.startswith(text)
        return (await retraced(self._path, text)).right

    async def follow(self, text: str, begun: str | None, *, whole: bool) -> Trace:
        """How a model came to say a text, one way or the other."""
        trace = await retraced(self._path, text, whole=whole)
        if trace.right or not begun or not text.startswith(begun):
            return trace
        if not (await retraced(self._path, begun)).right:
            return trace
        joined = await retraced(self._path, text, begun=begun, whole=whole)
        return joined if joined.right else trace

    async def _path(self, begun: str) -> list[Token]:
        assert self._upstream is not None
        messages, more = _asks(self._case), {}
        if begun:
            messages = [*messages, {"role": "assistant", "content": begun}]
            more = {"chat_template_kwargs": {"continue_final_message": True}}
        # Beyond the model's end, so that it stands among the tokens.
        asked = {**more, **PROBABLE, "ignore_eos": True}
        return path_of(await said(self._upstream, "starter", messages, **asked))


class Bench:
    """One run over one set of cases."""

    def __init__(self, found: list[Case], result: Result) -> None:
        self._cases = found
        self._result = result
        self._stage = Stage({case.tag: case for case in found})
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def run(self, upstream: Server | None) -> None:
        """All streams, so many at a time."""
        async with AsyncExitStack() as stack:
            front = await self._set_up(stack, upstream)
            honest = await self._honest(upstream)
            together = asyncio.Semaphore(TOGETHER[self._cases[0].voice])

            async def one(case: Case) -> None:
                async with together:
                    await self._one(front, upstream, case, honest[case.name])

            await asyncio.gather(*(one(case) for case in self._cases))

    async def _set_up(self, stack: AsyncExitStack, upstream: Server | None) -> Server:
        if upstream is None:
            speaker = await stack.enter_async_context(Speaker().running())
            url = f"http://127.0.0.1:{speaker.port}"
        else:
            url = f"http://{upstream.host}:{upstream.port}"
        strikes = FaultProxy(url, route=self._stage.strike)
        stands = FaultProxy(url, route=self._stage.stand_by)
        failing = await stack.enter_async_context(strikes.running())
        by = await stack.enter_async_context(stands.running())
        addresses = {case.name: failing.url + "/v1" for case in self._cases}
        for case in self._cases:
            if case.killed:
                process, port = await victim()
                self._processes[case.name] = process
                stack.push_async_callback(_end, process)
                addresses[case.name] = f"http://127.0.0.1:{port}/v1"
        voice = self._cases[0].voice
        text = settings(self._cases, addresses, {voice: by.url + "/v1"})
        server, _ = await asyncio.to_thread(_enter, stack, text)
        return server

    async def _honest(self, upstream: Server | None) -> dict[str, Honest]:
        if upstream is None:
            return {case.name: Honest(case.expected, case, None) for case in self._cases}
        found: dict[str, Honest] = {}
        for case in self._cases:
            answer = await said(upstream, "starter", _asks(case))
            found[case.name] = Honest(answer.text, case, upstream)
        return found

    async def _one(
        self, front: Server, upstream: Server | None, case: Case, honest: Honest
    ) -> None:
        if case.killed:
            asyncio.get_running_loop().call_later(0.02 + (case.number % 7) * 0.03, self._kill, case)
        began = time.perf_counter()
        try:
            # A speaker says more than so many tokens, whatever it is told.
            more = {"max_tokens": 1000} if case.voice == "speaker" else {}
            answer = await said(front, case.name, _asks(case), **more)
        except (Cut, TimeoutError, OSError) as error:
            self._result.note(case, "lost", repr(error))
            return
        await self._judge(case, answer, honest, upstream)
        self._times(case, answer, began)

    def _kill(self, case: Case) -> None:
        with suppress(ProcessLookupError):
            self._processes[case.name].kill()

    async def _judge(
        self, case: Case, answer: Answer, honest: Honest, upstream: Server | None
    ) -> None:
        code, result = _error(answer), self._result
        text = answer.text if answer.status == 200 else ""
        if code is None and answer.finish is None:
            result.note(case, "lost", "no end and no error")
        elif code is not None:
            known = code in ERRORS and not case.continues and text and await honest.begins(text)
            result.note(
                case, "named error" if known else "wrong", "" if known else f"{code}: {text!r}"
            )
        elif text == honest.text:
            joined = case.tag in self._stage.begun
            went = case.tag in self._stage.asked
            result.note(case, "continued" if joined else "elsewhere" if went else "undisturbed")
        elif upstream is not None:
            await self._judge_model(case, answer, honest)
        else:
            begun = self._stage.begun.get(case.tag)
            result.note(case, "wrong", f"{text!r} (from {begun!r}) is not {honest.text!r}")

    async def _judge_model(self, case: Case, answer: Answer, honest: Honest) -> None:
        """A model's text that is not the honest one: close calls on the way, or wrong."""
        text, begun, result = answer.text, self._stage.begun.get(case.tag), self._result
        whole = answer.finish == "stop"
        short = not whole and answer.usage["completion_tokens"] < TOKENS
        trace = await honest.follow(text, begun, whole=whole)
        if trace.right and not short:
            result.closest += trace.closest
            ways = "at close calls" if trace.closest else "from the joint on"
            result.note(case, f"another way, {ways}")
            return
        part = trace.difference
        at = text.encode()[part.at :].decode(errors="replace") if part else ""
        clear = f"{part.nats:.2f} nats" if part and part.taken else "none of the likeliest"
        result.note(
            case,
            "wrong",
            f"{text!r} (from {begun!r}) is not {honest.text!r}; it parts at {at!r}, {clear}; "
            f"the model says {trace.instead!r}" + ("; it is too short" if short else ""),
        )

    def _times(self, case: Case, answer: Answer, began: float) -> None:
        node_case = case.voice == "node"
        asked = self._stage.asked.get(case.tag)
        if asked and case.fault.kind in ("silent", "pings"):
            deadline = NODE_FIRST if node_case else FIRST
            self._result.switches.append(1000 * (asked - began - deadline))
        if case.tag in self._stage.begun and answer.status == 200:
            at = [at for at, event in answer.events if event.get("choices")]
            gaps = [b - a for a, b in pairwise(at)]
            stalled = case.fault.kind in ("stall", "stall-pings", "garbage") and not case.killed
            waits = case.fault.kind in ("stall", "stall-pings") and stalled
            allowed = (NODE_BETWEEN if node_case else BETWEEN) if waits else 0.0
            name = "stalled" if waits else "broken"
            if gaps:
                self._result.pauses[f"{case.voice}, {name}"].append(1000 * (max(gaps) - allowed))


def _enter(stack: AsyncExitStack, text: str) -> tuple[Server, Any]:
    return stack.enter_context(elsewhere.start(text))


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _asks(case: Case) -> list[dict[str, str]]:
    return [{"role": "user", "content": case.question}]


def _error(answer: Answer) -> str | None:
    if answer.status != 200:
        body = b"".join(piece for _, piece in answer.pieces)
        return str(json.loads(body)["error"].get("code"))
    last = answer.events[-1][1] if answer.events else {}
    return str(last["error"].get("code")) if "error" in last else None


def records(result: Result, count: int) -> list[Record]:
    """The figures against the bars."""
    told = result.outcomes
    bad = told["wrong"]
    found = [
        Record(f"streams lost, of {count:,}", told["lost"], "", bar="0", holds=not told["lost"]),
        Record("with a wrong, repeated or missing character, or a wrong error", bad, "", bar="0",
               holds=not bad),
    ]  # fmt: skip
    names = (
        "undisturbed",
        "elsewhere",
        "continued",
        "another way, at close calls",
        "another way, from the joint on",
        "named error",
    )
    found += [Record(name, told[name], "streams") for name in names]
    if result.closest:
        found.append(Record("widest close call", max(result.closest), "nats"))
        found.append(Record("close call, median", statistics.median(result.closest), "nats"))
    if result.switches:
        late = result.switches
        worst, middle = max(late), statistics.median(late)
        found.append(Record("next provider after a first token's deadline, median", middle, "ms"))
        found.append(
            Record("the same, longest", worst, "ms", bar=f"≤ {SWITCH_BAR:g} ms",
                   holds=worst <= SWITCH_BAR)
        )  # fmt: skip
    for name, pauses in sorted(result.pauses.items()):
        found.append(Record(f"pause, {name}, median", statistics.median(pauses), "ms"))
        found.append(Record(f"pause, {name}, longest", max(pauses), "ms"))
    return found


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the streams")
    given = parser.parse_args()
    count = given.streams // 10 if given.quick else given.streams
    spoken = count * 7 // 8
    result = Result()
    asyncio.run(Bench(cases("speaker", spoken, first=1, seed=given.seed), result).run(None))
    rest = cases("node", count - spoken, first=spoken + 1, seed=given.seed)
    plain = {"AI_ASSISTANT_ENGINE_SPECULATION": "false"}
    with node.start(STARTER, slots=8, context=1024, environment=plain) as upstream:
        asyncio.run(Bench(rest, result).run(upstream))
    for problem in result.problems[:20]:
        print(problem)
    table = {fault: dict(outcomes) for fault, outcomes in sorted(result.by_fault.items())}
    publish(
        "failover-quick" if given.quick else "failover",
        records(result, count),
        notes=[
            f"seed {given.seed}; deadlines of those that fail: first token {FIRST} s, between "
            f"tokens {BETWEEN} s (model: {NODE_FIRST} and {NODE_BETWEEN})",
            "pauses: the longest silence of a continued stream, less the deadline where one had "
            "to run out",
            f"by fault: {table}",
        ],
    )


if __name__ == "__main__":
    main()
