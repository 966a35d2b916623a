"""How jobs and the network are doing, in `/status` and in `/metrics`."""

from collections.abc import Iterator

from msgspec import structs
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ai_assistant.gateway.exchange import Exchange
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.protocol.worker import Service

REASONS = ("window", "network", "disk", "model", "limit")


class JobsCollector(Collector):
    """Batches by what they do, and whether there is a way out."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """As they are now."""
        status = self._jobs.status()
        batches = GaugeMetricFamily(
            "ai_assistant_batches",
            "Batches that are not finished, by what they do or wait for.",
            labels=("state", "reason"),
        )
        batches.add_metric(("working", ""), status.working)
        for reason in REASONS:
            batches.add_metric(("waiting", reason), status.waiting.get(reason, 0))
        yield batches
        yield GaugeMetricFamily(
            "ai_assistant_online", "Whether this machine has a way out.", value=status.online
        )


class StatusPage:
    """GET /status with jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def show(self, exchange: Exchange, service: Service) -> None:
        """Everything the node knows of itself."""
        status = structs.replace(service.status(), jobs=self._jobs.status(exchange.caller.tenant))
        await exchange.send_object(status)
