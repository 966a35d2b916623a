"""From settings to workers: every model of every provider that can be used."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from ai_assistant.protocol.egress import Gate
from ai_assistant.protocol.errors import AssistantError, InvalidRequest
from ai_assistant.protocol.offers import Offer
from ai_assistant.workers.providers.keys import find_key
from ai_assistant.workers.providers.prices import known_price
from ai_assistant.workers.providers.provider import Provider, ProviderModel
from ai_assistant.workers.providers.records_file import RecordsFile
from ai_assistant.workers.remote.address import Address
from ai_assistant.workers.remote.dialects import dialect_of
from ai_assistant.workers.remote.kinds import Continues, Target
from ai_assistant.workers.remote.secret import Secret
from ai_assistant.workers.remote.transports import make_transport
from ai_assistant.workers.remote.upstream import Upstream
from ai_assistant.workers.remote.worker import RemoteWorker

SAVE_SECONDS = 60.0


class Fleet:
    """All workers elsewhere. Whoever makes it closes it."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        environ: Mapping[str, str],
        folder: Path,
        gate: Gate,
        records: RecordsFile,
    ) -> None:
        """`folder`: where the settings are. `gate` is asked before anything is sent.

        A provider whose key is missing gives no workers; `problems` says so.
        """
        self.workers: list[RemoteWorker] = []
        self.problems: dict[str, str] = {}
        self._records = records
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="provider-records")
        self._upstreams: list[Upstream] = []
        for name, provider in providers.items():
            if not provider.enabled:
                continue
            try:
                secret = find_key(name, provider.key, environ, folder)
                upstream = make_upstream(name, provider, secret, gate)
            except AssistantError as error:
                self.problems[name] = error.message
                continue
            self._upstreams.append(upstream)
            self.workers += [
                make_worker(name, provider, model, upstream, records) for model in provider.models
            ]

    def named(self, name: str) -> list[RemoteWorker]:
        """The workers that answer to a name, in the order of the settings."""
        return [worker for worker in self.workers if name in worker.offer.names]

    async def keep_records(self, seconds: float = SAVE_SECONDS) -> None:
        """Write what was measured every so often, until cancelled: a node may be killed."""
        while True:
            await asyncio.sleep(seconds)
            await self._save()

    async def close(self, *, drain: bool = True) -> None:
        """Let what runs end, or not; give connections back; keep what was measured."""
        try:
            for worker in self.workers:
                await worker.stop(drain=drain)
        finally:
            for upstream in self._upstreams:
                await upstream.close()
            await self._save()
            self._disk.shutdown(wait=False)

    async def _save(self) -> None:
        """Behind what is being written: the disk may take its time, and requests do not wait."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # a full disk: the next time perhaps
            await loop.run_in_executor(self._disk, self._records.write, self._records.states())


def make_upstream(name: str, provider: Provider, secret: Secret, gate: Gate) -> Upstream:
    """The provider's connections, none open yet; raises `InvalidRequest`."""
    address = provider.address()
    headers = dialect_of(provider.kind_facts()).headers(secret.reveal())
    return Upstream(
        name=name,
        region=provider.region,
        address=address,
        transport=make_transport(
            address,
            {**headers, "User-Agent": "ai-assistant"},
            context=_context(name, provider, address),
            http2=provider.http2,
        ),
        secret=secret,
        gate=gate,
        deadlines=provider.deadlines,
        places=provider.max_requests,
    )


def make_worker(
    name: str, provider: Provider, model: ProviderModel, upstream: Upstream, records: RecordsFile
) -> RemoteWorker:
    """The worker of one model."""
    offer = make_offer(name, provider, model)
    target = Target(
        provider=name,
        model=model.id,
        kind=provider.kind_facts(),
        abilities=offer.abilities,
        continues=continues_of(provider, model),
        max_output=model.max_output,
    )
    return RemoteWorker(offer, target, upstream, records.record(f"{name}/{model.id}"))


def continues_of(provider: Provider, model: ProviderModel) -> Continues:
    """How the model goes on in the middle of an answer, as the owner or its kind says."""
    return model.continues or provider.kind_facts().continues


def make_offer(name: str, provider: Provider, model: ProviderModel) -> Offer:
    """What the rest of the node may know of it."""
    kind, address = provider.kind_facts(), provider.address()
    price = model.price or known_price(
        provider.kind, kind, model.id, own_machine=address.place != "cloud"
    )
    return Offer(
        provider=name,
        kind=provider.kind,
        model=model.id,
        names=model.names or (f"{name}/{model.id}",),
        place=address.place,
        region=provider.region,
        host=address.host,
        address=f"{'https' if address.secure else 'http'}://{_netloc(address)}",
        abilities=kind.abilities if model.abilities is None else frozenset(model.abilities),
        context=model.context,
        price=price,
        continues=continues_of(provider, model) != "no",
    )


def _netloc(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _context(name: str, provider: Provider, address: Address) -> ssl.SSLContext | None:
    if not (address.secure and provider.ca_file):
        return None
    try:
        return ssl.create_default_context(cafile=str(Path(provider.ca_file).expanduser()))
    except (OSError, ssl.SSLError):
        raise InvalidRequest(f"{name}.ca_file: no certificates in {provider.ca_file}.") from None


def shown(provider: Provider) -> dict[str, object]:
    """A provider as data for people and programs; there is no key in it."""
    return msgspec.to_builtins(provider)
