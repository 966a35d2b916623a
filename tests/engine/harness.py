"""An engine in the test's own process: real kernels, real loop, no pipe."""

from array import array
from pathlib import Path

from ai_assistant.engine.channel import Orders
from ai_assistant.engine.engine import Engine
from ai_assistant.engine.kernels import Model
from ai_assistant.engine.output import TextOutput
from ai_assistant.engine.sampling import Sampler
from ai_assistant.engine.sequence import Prepared, Sequence
from ai_assistant.protocol.blocks import BlocksAnswer
from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.engine_plan import EnginePlan
from ai_assistant.protocol.frames import BlocksSaid, Chunks, EngineReport, Failed, Shutdown
from ai_assistant.protocol.requests import GenerateRequest, Priority, Sampling, TextPrompt


class Collector:
    """Stands where the pipe to the node would be, and keeps what is said."""

    def __init__(self) -> None:
        self.chunks: dict[str, list[TokenChunk]] = {}
        self.failed: dict[str, Failed] = {}
        self.said: dict[str, list[BlocksAnswer]] = {}
        """What was told about blocks, once it is all."""
        self._saying: dict[str, list[BlocksAnswer]] = {}

    def send(self, report: EngineReport) -> None:
        if isinstance(report, Chunks):
            for request_id, chunk in report.chunks:
                self.chunks.setdefault(request_id, []).append(chunk)
        elif isinstance(report, Failed):
            self.failed[report.request_id] = report
        elif isinstance(report, BlocksSaid):
            self._saying.setdefault(report.ask_id, []).append(report.answer)
            if report.last:
                self.said[report.ask_id] = self._saying.pop(report.ask_id)

    def text(self, request_id: str, index: int = 0) -> str:
        return "".join(c.text for c in self.chunks[request_id] if c.index == index)

    def usage(self, request_id: str) -> Usage:
        last = self.chunks[request_id][-1].usage
        assert last is not None
        return last


class Bench:
    """Sets up an engine; `run` lets it finish all that was asked."""

    def __init__(self, model: Model, path: Path, **changes: object) -> None:
        plan = {
            "context_limit": 2048, "cells": 4096, "slots": 8, "retained": 8, "chunk": 512,
            "threads": 2, "threads_batch": 2,
        } | changes  # fmt: skip
        self.model = model
        self.plan = EnginePlan(model_path=str(path), **plan)  # type: ignore[arg-type]
        self.collector = Collector()
        self.orders = Orders(None)  # type: ignore[arg-type]
        self.engine = Engine(self.plan, model, self.orders, self.collector)  # type: ignore[arg-type]

    def tokens(self, text: str) -> "array[int]":
        return array(
            "i", self.model.vocabulary.tokenize(text, add_special=True, parse_special=True)
        )

    def ask(
        self,
        request_id: str,
        prompt: str | list[int],
        *,
        max_tokens: int = 16,
        priority: Priority = Priority.NORMAL,
        sampling: Sampling | None = None,
        n: int = 1,
        stop: tuple[str, ...] = (),
        logprobs: int | None = None,
        tenant: str = "",
    ) -> None:
        request = GenerateRequest(
            request_id=request_id,
            model="test",
            prompt=TextPrompt(""),
            sampling=sampling or Sampling(temperature=0),
            n=n,
            max_tokens=max_tokens,
            priority=priority,
            tenant=tenant,
            logprobs=logprobs,
            ignore_eos=not stop,
            stop=stop,
        )
        tokens = array("i", prompt) if isinstance(prompt, list) else self.tokens(prompt)
        self.orders.arrivals.put(
            Prepared(
                [
                    Sequence(
                        request,
                        index,
                        array("i", tokens),
                        min(len(tokens) + max_tokens, self.plan.context_limit),
                        Sampler(request.sampling, index=index),
                        TextOutput(self.model.vocabulary, None, stop),
                    )
                    for index in range(n)
                ]
            )
        )

    def run(self) -> Collector:
        self.orders.arrivals.put(Shutdown(drain=True))
        self.engine.run()
        self.engine._draining = False  # so that the same engine can be asked again
        self.engine._parts.cache.check_integrity()
        return self.collector

    def close(self) -> None:
        self.engine._parts.context.close()
