"""Which trials a plan needs, and what they say together: pure.

Every way to lay a model over a machine that a plan may choose is timed with two stand-ins. Another
type of KV cache changes what looking back costs and nothing else: so it is timed with one stand-in,
in the steps that show it, on the devices that look back.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import structs

from ai_assistant.devices.layout.costs import (
    FREE,
    Costs,
    Curve,
    cases,
    cold_bytes,
    costs,
    deep_one,
    flat,
    of_cache,
    small,
    stand_ins,
    with_cache,
)
from ai_assistant.devices.layout.predict import Bench
from ai_assistant.protocol.layout import Case, ModelAnatomy, Trial, TrialReport
from ai_assistant.store.twin import VARIETY

SECONDS = 0.075
"""For the repetitions of one step in one pass."""
ALL = 1_000
"""More layers than any model has."""
STRAIGHT = 512
"""Tokens of the largest step of a processor that computes prompts too: beyond, a line will do."""


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan may choose from."""

    threads: tuple[int, ...]
    gpus: tuple[str, ...] = ()
    """As the kernels name them, in their order."""
    chunk: int = 512
    """The largest step."""
    kv_type: str = "f16"
    others: tuple[str, ...] = ()
    """Further types of KV cache."""
    nice: int = 0
    """How far the trials step back behind other programs."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, of a stand-in with so many layers."""

    way: str
    layers: int
    trial: Trial
    """Without the file's path."""

    @property
    def name(self) -> tuple[str, int, str]:
        """Differs from that of every other trial of the same plan."""
        return self.way, self.layers, self.trial.kv_type


Reports = Mapping[tuple[str, int, str], TrialReport]


class Plan:
    """The trials of one model on one machine."""

    def __init__(self, anatomy: ModelAnatomy, ways: Ways, cache: int = 0) -> None:
        """`cache`: bytes that the processor's last cache holds."""
        self._anatomy = anatomy
        self._ways = ways
        self._cache = cache
        self._sizes = [layer.bytes for layer in anatomy.layers]
        self.layers = stand_ins(self._sizes)
        self._deep = deep_one(self.layers, self._sizes)

    @property
    def small(self) -> bool:
        """Whether its speed depends on who else uses the cache at the moment."""
        return small(self._sizes)

    def tasks(self) -> tuple[Task, ...]:
        """In an order in which few are loaded anew; GPUs compute what lies before deep steps."""
        found = [
            self._task(way, trial, layers, kind)
            for group in self._groups()
            for layers in reversed(self.layers)
            for way, trial in group.items()
            for kind in (self._ways.kv_type, *self._ways.others)
            if self._wanted(way, layers, kind)
        ]
        return tuple(found)

    def _wanted(self, way: str, layers: int, kind: str) -> bool:
        if kind != self._ways.kv_type:
            return layers == self._deep and self._looks_back(way)
        return layers == self.layers[1] or way not in ("crossing", "between")

    def _looks_back(self, way: str) -> bool:
        """The others only show layers and ways between devices."""
        return way not in ("mixed", "crossing", "between")

    def _task(self, way: str, trial: Trial, layers: int, kind: str) -> Task:
        deep = layers == self._deep and self._looks_back(way)
        steps = cases(
            trial.chunk,
            self._anatomy.context,
            deep=deep,
            straight=not trial.gpu_layers,
            beside_gpu=bool(self._ways.gpus),
        )
        if kind != self._ways.kv_type:
            steps = of_cache(steps)
        cold = 0 if way.startswith("gpu") else cold_bytes(self._anatomy, layers, self._cache)
        trial = structs.replace(trial, cases=steps, kv_type=kind, cold_bytes=cold)
        return Task(way=way, layers=layers, trial=trial)

    def _groups(self) -> Iterator[dict[str, Trial]]:
        """By what is loaded."""
        ways = self._ways
        basis = Trial(
            path="",
            cases=(),
            threads=max(ways.threads),
            chunk=ways.chunk,
            tokens=VARIETY if self._anatomy.experts else 1,
            seconds=SECONDS,
            passes=1,
            nice=ways.nice,
            load_mode="read" if ways.gpus else "auto",
        )
        if ways.gpus:
            whole = structs.replace(basis, gpu_layers=ALL)
            first = structs.replace(whole, tensor_split=_only(0, ways.gpus))
            for index in range(len(ways.gpus)):
                split = _only(index, ways.gpus)
                yield {f"gpu{index}": structs.replace(whole, tensor_split=split)}
            yield {"mixed": structs.replace(first, feeds_on_cpu=ALL)}
            second = self.layers[1] // 2
            yield {"crossing": structs.replace(first, gpu_layers=second + 1)}
            if len(ways.gpus) > 1:
                # The output is one more.
                shares = (float(self.layers[1] - second), second + 1.0)
                yield {"between": structs.replace(whole, tensor_split=shares)}
            chunk = min(ways.chunk, STRAIGHT)
            yield {"apart": structs.replace(basis, host_buffers=False, chunk=chunk)}
        yield {
            f"cpu{count}": structs.replace(basis, threads=count)
            for count in sorted(ways.threads, reverse=True)
        }

    # What the reports say.

    def benches(self, reports: Reports) -> dict[str, Bench]:
        """By type of KV cache."""
        kind = self._ways.kv_type
        bench = self._bench(reports)
        others = {other: self._other(bench, reports, other) for other in self._ways.others}
        return {kind: bench} | others

    def _bench(self, reports: Reports) -> Bench:
        ways = self._ways
        cpu = {count: self._costs(reports, f"cpu{count}", "CPU") for count in ways.threads}
        if not ways.gpus:
            return Bench(cpu=cpu)
        gpus = tuple(
            self._costs(reports, f"gpu{index}", name) for index, name in enumerate(ways.gpus)
        )
        most = cpu[max(ways.threads)]
        return Bench(
            cpu=cpu,
            gpus=gpus,
            mixed=self._costs(reports, "mixed", ways.gpus[0]),
            rearranged=self._costs(reports, "apart", "CPU"),
            crossing=self._beyond(reports, "crossing", most, gpus[0], gpus[0]),
            between=self._beyond(reports, "between", gpus[0], gpus[1], gpus[1])
            if len(gpus) > 1
            else FREE,
        )

    def _costs(self, reports: Reports, way: str, device: str) -> Costs:
        kind = self._ways.kv_type
        short, long = (reports[way, layers, kind] for layers in self.layers)
        return costs(short, long, self.layers, device)

    def _beyond(self, reports: Reports, way: str, one: Costs, other: Costs, last: Costs) -> Curve:
        """What the longer stand-in, its second half on another device, costs beyond its layers."""
        second = self.layers[1] // 2
        first = self.layers[1] - second
        found = flat(reports[way, self.layers[1], self._ways.kv_type])
        more = {
            tokens: seconds
            - first * one.layer.at(tokens)
            - second * other.layer.at(tokens)
            - last.outside.at(tokens)
            for tokens, seconds in found.items()
        }
        steps = sorted(more)
        return Curve(tuple(steps), tuple(max(more[tokens], 0.0) for tokens in steps))

    def _other(self, bench: Bench, reports: Reports, kind: str) -> Bench:
        """With another type of KV cache."""

        def changed(base: Costs, way: str, device: str) -> Costs:
            plain, other = (reports[way, self._deep, one] for one in (self._ways.kv_type, kind))
            return with_cache(base, plain, other, self._deep, device)

        first = self._ways.gpus[0] if self._ways.gpus else ""
        return structs.replace(
            bench,
            cpu={count: changed(one, f"cpu{count}", "CPU") for count, one in bench.cpu.items()},
            gpus=tuple(
                changed(one, f"gpu{index}", name)
                for index, (one, name) in enumerate(zip(bench.gpus, self._ways.gpus, strict=True))
            ),
            mixed=bench.mixed and changed(bench.mixed, "gpu0", first),
            rearranged=bench.rearranged and changed(bench.rearranged, "apart", "CPU"),
        )


def _only(index: int, gpus: Sequence[str]) -> tuple[float, ...]:
    """Shares that leave all to one GPU."""
    return tuple(float(place == index) for place in range(len(gpus))) if len(gpus) > 1 else ()


def tokens_of(steps: Sequence[Case]) -> int:
    """That a pass over these steps computes at least: what lies before deep ones, and they."""
    return max((one.depth for one in steps), default=0) + sum(one.tokens for one in steps)
