"""What each key used, in the words that Prometheus reads: names, and never a secret."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ai_assistant.gateway.access.account import Account
from ai_assistant.gateway.access.accounts import Accounts

MOST = 200
"""Names that are told one by one; all further ones are `other`."""
OTHER = "other"
UNNAMED = "unnamed"
_UNNAMED_KEY = re.compile(r"key-[0-9a-f]{12}")
_LABELS = ("kind", "name")


class _Sums:
    def __init__(self) -> None:
        self.requests = self.refused = self.prompt = self.completion = self.running = 0
        self.dollars = 0.0

    def add(self, one: Account) -> None:
        self.requests += one.total.requests
        self.refused += one.total.refused
        self.prompt += one.total.prompt_tokens
        self.completion += one.total.completion_tokens
        self.running += one.running
        self.dollars += one.total.dollars


class _Told(NamedTuple):
    name: str
    words: str
    counts: bool


_FIGURES = {
    "requests": _Told("requests", "Requests that were let in.", True),
    "refused": _Told("refused", "Requests that were over a limit.", True),
    "prompt": _Told("prompt_tokens", "Tokens of prompts, cached ones too.", True),
    "completion": _Told("completion_tokens", "Tokens of answers.", True),
    "dollars": _Told("dollars", "US dollars spent at providers.", True),
    "running": _Told("running", "Requests under way.", False),
}


class KeyCollector(Collector):
    """Reads the accounts when somebody asks; requests pay nothing for it."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every figure of every key, user and team."""
        sums = _by_name(self._accounts.all())
        for field, told in _FIGURES.items():
            family = CounterMetricFamily if told.counts else GaugeMetricFamily
            metric = family("ai_assistant_key_" + told.name, told.words, labels=_LABELS)
            for labels, one in sums.items():
                metric.add_metric(labels, getattr(one, field))
            yield metric


def _by_name(accounts: Iterable[Account]) -> dict[tuple[str, str], _Sums]:
    sums: dict[tuple[str, str], _Sums] = {}
    for one in accounts:
        kind, _, name = one.name.partition(":")
        name = UNNAMED if kind == "key" and _UNNAMED_KEY.fullmatch(name) else name
        labels = (kind, name)
        if labels not in sums and len(sums) >= MOST:
            labels = (kind, OTHER)
        sums.setdefault(labels, _Sums()).add(one)
    return sums
