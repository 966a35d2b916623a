"""Everything about keys for one node: who may come in, and how much of what each may have."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.keeper import Keeper
from ai_assistant.gateway.access.purse import NodePurse
from ai_assistant.gateway.access.ring import KeyRing
from ai_assistant.gateway.access.visit import Visit
from ai_assistant.gateway.keys import Caller
from ai_assistant.protocol.worker import Service
from ai_assistant.store.keys_file import KeysFile


class Access:
    """One for the node. `kept` while it serves; without a folder nothing outlives the process."""

    def __init__(
        self,
        lines: tuple[str, ...],
        *,
        keys: Path | None = None,
        usage: Path | None = None,
    ) -> None:
        """`lines`: keys of the settings. `keys`: the file of those that the command made.
        `usage`: where counts are kept. Raises `InvalidRequest`."""
        self.ring = KeyRing(lines, KeysFile(keys))
        self.accounts = Accounts(self.ring.group_limits)
        self._keeper = Keeper(self.accounts, usage, secrets.token_hex(8)) if usage else None
        self.purse = NodePurse(self.accounts, self._keeper)

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Counts go on where they were left, and are written until the end."""
        if self._keeper is None:
            yield
            return
        await asyncio.to_thread(self._keeper.open)
        running = asyncio.create_task(self._keeper.run())
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await self._keeper.close()

    @contextlib.contextmanager
    def visit(self, caller: Caller, service: Service) -> Generator[Service]:
        """The service for one exchange of that caller; where there are no keys, the very one."""
        if not caller.tenant:
            yield service
            return
        visit = Visit(service, caller, self.accounts)
        try:
            yield visit
        finally:
            visit.close()
