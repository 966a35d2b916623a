"""A batch, and the states that it goes through: pure, every change gives a new value."""

from typing import Literal, get_args

import msgspec
from msgspec import structs

Status = Literal[
    "validating", "failed", "in_progress", "finalizing",
    "completed", "expired", "cancelling", "cancelled",
]  # fmt: skip
Outcome = Literal["completed", "expired", "cancelled", "failed"]
"""How a batch ends."""

FINAL: frozenset[str] = frozenset(get_args(Outcome))
_NEXT: dict[Status, tuple[Status, ...]] = {
    "validating": ("in_progress", "failed", "cancelling"),
    "in_progress": ("finalizing", "failed", "expired", "cancelling"),
    "finalizing": ("completed", "failed"),
    "cancelling": ("cancelled", "failed"),
}


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a batch."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a line or of a batch."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            input=self.input + other.input,
            cached=self.cached + other.cached,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch failed as a whole, or what is wrong with a line."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch, as it is kept. Times are whole seconds since 1970."""

    id: str
    tenant: str
    owner: str
    """Who asked, in the gateway's own words: handed back to it with every line."""
    endpoint: str
    input_file: str
    completion_window: str
    window: str = ""
    """Hours of the day in which it is worked on."""
    metadata: dict[str, str] | None = None
    labels: tuple[str, ...] = ()
    """That stick to all of its lines and to its files."""
    spill: bool = False
    """Its lines may go to a cloud when the deadline is near."""
    status: Status = "validating"
    created_at: int
    expires_at: int
    times: dict[str, int] = {}
    """When each later status began."""
    model: str | None = None
    """The model of its first answer."""
    output_file: str | None = None
    error_file: str | None = None
    output_seconds: int | None = None
    """How long its files are kept."""
    errors: tuple[Problem, ...] = ()
    counts: Counts = Counts()
    spent: Spent = Spent()

    @property
    def final(self) -> bool:
        """Nothing more will happen to it."""
        return self.status in FINAL


def may_become(batch: Batch, status: Status) -> bool:
    """Whether that status can follow."""
    return status in _NEXT.get(batch.status, ())


def become(batch: Batch, status: Status, at: float, **changes: object) -> Batch:
    """The batch in its next status. Raises `ValueError` for one that cannot follow."""
    if not may_become(batch, status):
        raise ValueError(f"A batch that is {batch.status} cannot become {status}.")
    times = {**batch.times, status: int(at)}
    return structs.replace(batch, status=status, times=times, **changes)
