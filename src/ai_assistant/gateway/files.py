"""/v1/files: upload, list, look, download, delete."""

import asyncio
from typing import TYPE_CHECKING, BinaryIO

from ai_assistant.gateway.exchange import Exchange
from ai_assistant.gateway.origin import origin_of
from ai_assistant.gateway.queries import Query
from ai_assistant.gateway.uploads import UploadForm
from ai_assistant.gateway.wire_files import (
    file_object,
    list_object,
    read_expiry,
    read_page,
    read_purpose,
)
from ai_assistant.jobs.entries import StoredFile
from ai_assistant.jobs.jobs import Jobs
from ai_assistant.protocol.errors import RequestTooLarge
from ai_assistant.protocol.worker import Service

if TYPE_CHECKING:
    from ai_assistant.jobs.shelf import Scratch

_PORTION = 1 << 20
"""Bytes that go to the disk, or to the client, at once."""


class FilesApi:
    """Handlers for `app.py`; each sees the files of its caller's tenant only."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._limit = jobs.settings.max_file_mb * 1_000_000

    async def upload(self, exchange: Exchange, service: Service) -> None:
        """POST /v1/files: on the disk as it comes, in the list when it is whole."""
        form = UploadForm(exchange.header(b"content-type"))
        length = exchange.header(b"content-length")
        if length is not None and int(length) > self._limit + _PORTION:
            raise self._too_large()
        with await self._jobs.new_file(int(length or 0)) as scratch:
            await self._receive(exchange, form, scratch)
            file = self._entry(exchange, form, scratch)
            await asyncio.to_thread(scratch.keep)
        await self._jobs.add_file(file)
        await exchange.send_object(file_object(file))

    async def index(self, exchange: Exchange, service: Service) -> None:
        """GET /v1/files."""
        page = read_page(exchange)
        purpose = Query(exchange).text("purpose")
        found = await self._jobs.files(exchange.caller.tenant, page, purpose)
        await exchange.send_object(list_object([file_object(file) for file in found], page.limit))

    async def show(self, exchange: Exchange, service: Service) -> None:
        """GET /v1/files/{id}."""
        file = await self._jobs.file(exchange.caller.tenant, _id(exchange))
        await exchange.send_object(file_object(file))

    async def download(self, exchange: Exchange, service: Service) -> None:
        """GET /v1/files/{id}/content."""
        name = _id(exchange)
        file = await self._jobs.file(exchange.caller.tenant, name)
        path = await self._jobs.content(exchange.caller.tenant, name)
        # Deleted meanwhile, it can still be read to its end.
        with await asyncio.to_thread(path.open, "rb") as content:
            await exchange.start_download(file.bytes)
            await _send_all(exchange, content, file.bytes)

    async def delete(self, exchange: Exchange, service: Service) -> None:
        """DELETE /v1/files/{id}."""
        name = _id(exchange)
        await self._jobs.delete_file(exchange.caller.tenant, name)
        await exchange.send_object({"id": name, "object": "file", "deleted": True})

    async def _receive(self, exchange: Exchange, form: UploadForm, scratch: "Scratch") -> None:
        waiting = bytearray()
        async for data in exchange.parts():
            waiting += form.feed(data)
            if scratch.bytes + len(waiting) > self._limit:
                raise self._too_large()
            if len(waiting) >= _PORTION:
                await asyncio.to_thread(scratch.write, bytes(waiting))
                waiting.clear()
        form.end()
        await asyncio.to_thread(scratch.write, bytes(waiting))

    def _entry(self, exchange: Exchange, form: UploadForm, scratch: "Scratch") -> StoredFile:
        now = int(self._jobs.clock.now())
        purpose = read_purpose(form.fields)
        usual = self._jobs.expiry(now) if purpose == "batch" else None
        return StoredFile(
            id=scratch.name,
            tenant=exchange.caller.tenant,
            purpose=purpose,
            filename=form.filename or "",
            bytes=scratch.bytes,
            created_at=now,
            expires_at=read_expiry(form.fields, now) or usual,
            labels=",".join(dict.fromkeys(origin_of(exchange).bounds.labels)),
        )

    def _too_large(self) -> RequestTooLarge:
        limit = self._jobs.settings.max_file_mb
        return RequestTooLarge(f"The file is larger than {limit} MB (jobs.max_file_mb).")


async def _send_all(exchange: Exchange, content: BinaryIO, size: int) -> None:
    left = size
    while left > 0:
        data = await asyncio.to_thread(content.read, min(left, _PORTION))
        if not data:
            raise OSError("the file is shorter than it was")
        left -= len(data)
        await exchange.send_events(data, last=left == 0)
    if size == 0:
        await exchange.send_events(b"", last=True)


def _id(exchange: Exchange) -> str:
    return exchange.scope["path_params"]["id"]
