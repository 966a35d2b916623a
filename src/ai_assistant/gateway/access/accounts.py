"""All accounts of a node: lets requests in, keeps count of them, lays money aside."""

import time
from collections.abc import Callable, Iterable

from ai_assistant.gateway.access.account import Account
from ai_assistant.gateway.access.bucket import Bucket
from ai_assistant.gateway.access.calendar import day_of
from ai_assistant.gateway.access.limits import (
    Now,
    Share,
    has_budget,
    money_left,
    request_refusal,
    spending_refusal,
)
from ai_assistant.gateway.keys import Caller
from ai_assistant.protocol.errors import BudgetSpent, RateLimited
from ai_assistant.store.key_usage import Changes, Held, Level, Used
from ai_assistant.store.keys import NO_LIMITS, Limits, Who

GroupLimits = Callable[[Who, str], Limits]
"""What a user or a team may have."""
_BUCKETS = ("requests", "tokens")


def no_groups(_kind: Who, _name: str) -> Limits:
    """Users and teams without limits."""
    return NO_LIMITS


class Accounts:
    """In memory; `changes` is what a file should know. Nothing here waits."""

    def __init__(
        self,
        group_limits: GroupLimits = no_groups,
        *,
        steady: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._accounts: dict[str, Account] = {}
        self._callers: dict[str, Caller] = {}
        self._group_limits = group_limits
        self._steady = steady
        self._wall = wall
        self._day = ""
        self._minute = -1.0

    def now(self) -> Now:
        """This moment; a clock that is set back begins no day anew."""
        wall = self._wall()
        if wall // 60 != self._minute:  # No zone's day begins within a minute.
            self._minute = wall // 60
            self._day = max(self._day, day_of(wall))
        return Now(self._steady(), wall, self._day)

    def all(self) -> Iterable[Account]:
        """Every account that was used, in the order of its first use."""
        return tuple(self._accounts.values())

    # Requests.

    def admit(self, caller: Caller, tokens: int) -> "Lease":
        """Let one request in, of a prompt of about so many tokens; raises `RateLimited`."""
        now = self.now()
        shares = self.shares(caller)
        refusal = _first_refusal(shares, now)
        if refusal is not None:
            shares[0].account.count_refused(now.day)
            raise refusal
        self._callers[caller.tenant] = caller
        return Lease(self, shares, tokens, now)

    def refusal(self, caller: Caller) -> RateLimited | None:
        """Why no request of that caller would be let in now; counts nothing."""
        return _first_refusal(self.shares(caller), self.now())

    def shares(self, caller: Caller) -> list[Share]:
        """The accounts that its requests are counted on, that of the key first."""
        found = [Share(self.account(f"key:{caller.tenant}"), caller.limits)]
        if caller.user:
            limits = self._group_limits("user", caller.user)
            found.append(Share(self.account(f"user:{caller.user}"), limits))
        if caller.team:
            limits = self._group_limits("team", caller.team)
            found.append(Share(self.account(f"team:{caller.team}"), limits))
        return found

    def account(self, name: str) -> Account:
        """The account of that name, begun now if it is new."""
        found = self._accounts.get(name)
        if found is None:
            found = self._accounts[name] = Account(name)
        return found

    # Money.

    def check(self, tenant: str, dollars: float | None) -> None:
        """Raise `BudgetSpent` if the tenant may not spend so much now."""
        now = self.now()
        for share in self._shares_of(tenant):
            refusal = spending_refusal(share, dollars, now)
            if refusal is not None:
                raise refusal

    def left(self, caller: Caller) -> float | None:
        """Dollars that the caller may still spend today and this month; None: as it likes."""
        return self._left(self.shares(caller))

    def left_of(self, tenant: str) -> float | None:
        """The same of whoever was let in last by that name."""
        return self._left(self._shares_of(tenant))

    def _left(self, shares: list[Share]) -> float | None:
        now = self.now()
        found = [money_left(share, now) for share in shares]
        known = [dollars for dollars in found if dollars is not None]
        return min(known) if known else None

    def hold(self, tenant: str, dollars: float | None) -> "HeldMoney":
        """Lay it aside; raises `BudgetSpent`."""
        shares, day = self._shares_of(tenant), self.now().day
        try:
            self.check(tenant, dollars)
        except BudgetSpent:
            shares[0].account.count_refused(day)
            raise
        return HeldMoney(shares, dollars or 0.0, day)

    def _shares_of(self, tenant: str) -> list[Share]:
        caller = self._callers.get(tenant)
        return self.shares(caller) if caller else []

    # On disk.

    def changes(self) -> Changes:
        """What came since the last time."""
        now = self.now()
        used: list[Used] = []
        levels: list[Level] = []
        held: list[Held] = []
        for one in self._accounts.values():
            used += one.take_used()
            held += [Held(account=one.name, day=day, dollars=dollars)
                     for day, dollars in one.unwritten_held.items()]  # fmt: skip
            one.unwritten_held = {}
            if one.touched:
                levels += self._levels(one, now)
                one.touched = False
        return Changes(used=tuple(used), levels=tuple(levels), held=tuple(held))

    def put_back(self, changes: Changes) -> None:
        """They could not be written."""
        for one in changes.used:
            self.account(one.account).put_back(one)
        for one in changes.held:
            waiting = self.account(one.account).unwritten_held
            waiting[one.day] = waiting.get(one.day, 0.0) + one.dollars
        for one in changes.levels:
            self.account(one.account).touched = True

    def restore(self, used: Iterable[Used], levels: Iterable[Level]) -> None:
        """What earlier processes wrote, of this month."""
        now = self.now()
        for one in sorted(used, key=lambda one: one.day):
            if one.day <= now.day:
                self.account(one.account).remember(one.dollars, one.day)
        for one in levels:
            if one.kind in _BUCKETS:
                past = max(now.wall - one.at, 0.0)
                setattr(self.account(one.account), one.kind, Bucket(one.level, now.steady - past))

    def _levels(self, account: Account, now: Now) -> list[Level]:
        kinds = {"requests": account.requests, "tokens": account.tokens}
        states = ((kind, bucket.state) for kind, bucket in kinds.items())
        return [
            Level(account=account.name, kind=kind, level=level, at=now.wall - (now.steady - at))
            for kind, (level, at) in states
            if level != float("inf")
        ]


def _first_refusal(shares: list[Share], now: Now) -> RateLimited | None:
    refusals = (request_refusal(share, now) for share in shares)
    return next((one for one in refusals if one), None)


class Lease:
    """One request that was let in. `close` it, however it ends."""

    def __init__(self, accounts: Accounts, shares: list[Share], tokens: int, now: Now) -> None:
        self._accounts = accounts
        self._shares = shares
        self._open = True
        for account, limits in shares:
            account.count_request(now.day)
            account.running += 1
            if limits.requests_per_minute:
                account.requests.take(1, limits.requests_per_minute, now.steady)
            if limits.tokens_per_minute:
                account.tokens.take(tokens, limits.tokens_per_minute, now.steady)

    def expect(self, tokens: int) -> None:
        """Another prompt of the same exchange."""
        now = self._accounts.now()
        if not self._open:
            self._open = True
            for account, _ in self._shares:
                account.running += 1
        for account, limits in self._shares:
            if limits.tokens_per_minute:
                account.tokens.take(tokens, limits.tokens_per_minute, now.steady)

    def count(self, prompt: int, completion: int, *, cached: int, expected: int) -> None:
        """An answer is over: `expected` were taken before. What was cached was not computed."""
        now = self._accounts.now()
        for account, limits in self._shares:
            account.count_tokens(prompt, completion, now.day)
            if limits.tokens_per_minute:
                more = prompt - cached + completion - expected
                account.tokens.take(more, limits.tokens_per_minute, now.steady)

    def close(self) -> None:
        """It is no longer under way."""
        if self._open:
            self._open = False
            for account, _ in self._shares:
                account.running -= 1


class HeldMoney:
    """Implements `protocol.purse.Hold`."""

    def __init__(self, shares: list[Share], dollars: float, day: str) -> None:
        self._accounts = [share.account for share in shares]
        self._dollars = dollars
        self._day = day
        self._open = True
        self.limited = any(has_budget(share.limits) for share in shares)
        """Somebody's money is limited: it must be on disk before it is spent."""
        for account in self._accounts:
            account.hold(dollars, day)

    def settle(self, dollars: float) -> None:
        """It came to so much; only the first call counts."""
        if self._open:
            self._open = False
            for account in self._accounts:
                account.hold(-self._dollars, self._day)
                account.spend(dollars, self._day)
