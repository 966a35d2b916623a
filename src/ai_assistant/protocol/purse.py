"""The money of whoever asks, as those see it who would spend it."""

from typing import Protocol


class Hold(Protocol):
    """Money laid aside for one request to one worker. It ends in `settle`, whatever happens."""

    def settle(self, dollars: float) -> None:
        """It came to so much; the rest is free again. Only the first call counts."""
        ...


class Purse(Protocol):
    """Asked before anything is sent to a worker that costs money."""

    def check(self, tenant: str, dollars: float | None) -> None:
        """Whether the tenant may spend so much now; raises `BudgetSpent`, which says when.

        Looks and writes nothing down. None: nobody knows what it may cost; whoever has a budget
        may not.
        """
        ...

    def left(self, tenant: str) -> float | None:
        """Dollars that it may still spend now; None: as it likes."""
        ...

    async def hold(self, tenant: str, dollars: float | None) -> Hold:
        """Lay it aside, on disk too where there is a budget; raises `BudgetSpent`."""
        ...
