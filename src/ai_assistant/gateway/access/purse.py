"""`protocol.purse.Purse` of a node: accounts in memory, and on disk what must not be forgotten."""

from ai_assistant.gateway.access.accounts import Accounts
from ai_assistant.gateway.access.keeper import Keeper
from ai_assistant.protocol.purse import Hold


class NodePurse:
    """The money of every tenant."""

    def __init__(self, accounts: Accounts, keeper: Keeper | None) -> None:
        self._accounts = accounts
        self._keeper = keeper

    def check(self, tenant: str, dollars: float | None) -> None:
        """Raise `BudgetSpent` if it may not spend so much now."""
        self._accounts.check(tenant, dollars)

    def left(self, tenant: str) -> float | None:
        """Dollars that it may still spend now; None: as it likes."""
        return self._accounts.left_of(tenant)

    async def hold(self, tenant: str, dollars: float | None) -> Hold:
        """Lay it aside; raises `BudgetSpent`, and `Unavailable` if it cannot be written down."""
        held = self._accounts.hold(tenant, dollars)
        if held.limited and self._keeper:
            try:
                await self._keeper.written()
            except BaseException:
                held.settle(0.0)
                raise
        return held
