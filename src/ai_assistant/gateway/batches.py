"""/v1/batches: create, list, look, cancel; and the addresses of everything about jobs."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.routing import Route

from ai_assistant.gateway.desk import BATCHABLE
from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.files import FilesApi
from ai_assistant.gateway.sender import sender_of, write_owner
from ai_assistant.gateway.wire_batches import batch_object, read_batch
from ai_assistant.gateway.wire_files import list_object, read_page
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.jobs.states import Batch
from ai_assistant.protocol.worker import Service

Handler = Callable[[Exchange, Service], Awaitable[None]]

_USUAL, _MOST = 20, 100


class BatchesApi:
    """Handlers; each sees the batches of its caller's tenant only."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def create(self, exchange: Exchange, service: Service) -> None:
        """POST /v1/batches."""
        body, sender = await exchange.body(), sender_of(exchange)
        order = read_batch(
            body,
            list(BATCHABLE),
            tenant=sender.tenant,
            owner=write_owner(sender),
            labels=sender.origin.bounds.labels,
        )
        await exchange.send_object(await self._shown(await self._jobs.submit(order)))

    async def index(self, exchange: Exchange, service: Service) -> None:
        """GET /v1/batches."""
        page = read_page(exchange, usual=_USUAL, most=_MOST)
        found = await self._jobs.batches(exchange.caller.tenant, page)
        shown = [await self._shown(batch) for batch in found]
        await exchange.send_object(list_object(shown, page.limit))

    async def show(self, exchange: Exchange, service: Service) -> None:
        """GET /v1/batches/{id}."""
        batch = await self._jobs.batch(exchange.caller.tenant, exchange.scope["path_params"]["id"])
        await exchange.send_object(await self._shown(batch))

    async def cancel(self, exchange: Exchange, service: Service) -> None:
        """POST /v1/batches/{id}/cancel."""
        name = exchange.scope["path_params"]["id"]
        batch = await self._jobs.cancel(exchange.caller.tenant, name)
        await exchange.send_object(await self._shown(batch))

    async def _shown(self, batch: Batch) -> dict[str, Any]:
        return batch_object(batch, await self._jobs.progress(batch))


def job_routes(jobs: Jobs, route: Callable[[str, str, Handler], Route]) -> list[Route]:
    """Everything about files and batches."""
    files, batches = FilesApi(jobs), BatchesApi(jobs)
    return [
        route("/v1/files", "POST", files.upload),
        route("/v1/files", "GET", files.index),
        route("/v1/files/{id}", "GET", files.show),
        route("/v1/files/{id}", "DELETE", files.delete),
        route("/v1/files/{id}/content", "GET", files.download),
        route("/v1/batches", "POST", batches.create),
        route("/v1/batches", "GET", batches.index),
        route("/v1/batches/{id}", "GET", batches.show),
        route("/v1/batches/{id}/cancel", "POST", batches.cancel),
    ]
