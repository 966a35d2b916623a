"""May this one have more now? Pure looks at accounts; the words of every refusal."""

from typing import NamedTuple

from ai_assistant.gateway.access.account import CENT, Account
from ai_assistant.gateway.access.calendar import next_day, next_month
from ai_assistant.protocol.errors import BudgetSpent, RateLimited
from ai_assistant.store.keys import Limits

SOON = 1.0
"""Seconds after which somebody at the limit of requests under way may try again."""


class Now(NamedTuple):
    """One moment: by a clock that never goes back, in seconds since 1970, and its day."""

    steady: float
    wall: float
    day: str


class Share(NamedTuple):
    """An account and what it may have."""

    account: Account
    limits: Limits

    @property
    def who(self) -> str:
        """As its holder knows it."""
        kind, _, name = self.account.name.partition(":")
        return "This key" if kind == "key" else f"The {kind} {name}"


def request_refusal(share: Share, now: Now) -> RateLimited | None:
    """Why no further request may begin."""
    account, limits = share
    most = limits.concurrency
    if most is not None and account.running >= most:
        return RateLimited(
            f"{share.who} has {most} requests under way, as many as it may (concurrency); "
            "try again when one has ended.",
            retry_after=SOON,
        )
    for bucket, per_minute, what in (
        (account.requests, limits.requests_per_minute, "requests"),
        (account.tokens, limits.tokens_per_minute, "tokens"),
    ):
        wait = bucket.wait(per_minute, now.steady) if per_minute else 0.0
        if wait > 0:
            return RateLimited(
                f"{share.who} may have {per_minute:g} {what} a minute; "
                f"there is more in {_seconds(wait)}.",
                retry_after=wait,
            )
    return None


def spending_refusal(share: Share, dollars: float | None, now: Now) -> BudgetSpent | None:
    """Why so much may not be spent; None as an amount is one that nobody knows."""
    account, limits = share
    today, month = account.spent(now.day)
    budgets = (
        ("day", limits.dollars_per_day, today, next_day),
        ("month", limits.dollars_per_month, month, next_month),
    )
    for period, budget, spent, ends in budgets:
        if budget is None:
            continue
        if dollars is None:
            return BudgetSpent(
                f"{share.who} has a budget, and nobody knows what this model costs: say its "
                "price in providers.toml, or ask another model.",
                retry_after=ends(now.wall) - now.wall,
            )
        left = budget - spent - account.held
        if dollars > left + CENT:
            return BudgetSpent(
                f"{share.who} may spend ${budget:g} a {period}; ${max(left, 0):.4f} of it is left, "
                f"and this could cost ${dollars:.4f}. Ask for fewer tokens (max_tokens), ask a "
                f"model that costs nothing, or wait for the next {period}.",
                retry_after=ends(now.wall) - now.wall,
            )
    return None


def money_left(share: Share, now: Now) -> float | None:
    """Dollars that are neither spent nor laid aside; None: there is no budget."""
    account, limits = share
    spent = account.spent(now.day)
    budgets = zip((limits.dollars_per_day, limits.dollars_per_month), spent, strict=True)
    left = [budget - gone - account.held for budget, gone in budgets if budget is not None]
    return max(min(left), 0.0) if left else None


def has_budget(limits: Limits) -> bool:
    """Whether its money is limited."""
    return limits.dollars_per_day is not None or limits.dollars_per_month is not None


def _seconds(wait: float) -> str:
    return f"{wait:.1f} s" if wait < 10 else f"{wait:.0f} s"
