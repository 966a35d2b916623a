"""Keys as text for people and as data for programs; there is no secret in either."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ai_assistant.cli.output import columns, printable
from ai_assistant.gateway.access.calendar import day_of, month_of
from ai_assistant.store.key_usage import Used
from ai_assistant.store.keys import Group, KeyBook, Limits, StoredKey

_SHORT = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "concurrency": "at once",
    "dollars_per_day": "$/day",
    "dollars_per_month": "$/month",
}
_HEAD = ("name", "class", "holder", "scope", "limits", "today", "state")


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What was used in a time."""

    requests: int = 0
    tokens: int = 0
    refused: int = 0
    dollars: float = 0.0


def sums(used: Iterable[Used], account: str, since: str) -> Sums:
    """Of one account, from that day on."""
    found = [one for one in used if one.account == account and one.day >= since]
    return Sums(
        requests=sum(one.requests for one in found),
        tokens=sum(one.prompt_tokens + one.completion_tokens for one in found),
        refused=sum(one.refused for one in found),
        dollars=round(sum(one.dollars for one in found), 9),
    )


def periods(used: Sequence[Used], account: str, now: float) -> dict[str, Sums]:
    """Today and this month."""
    today = day_of(now)
    return {
        "today": sums(used, account, today),
        "month": sums(used, account, f"{month_of(today)}-01"),
    }


def shown(one: StoredKey | Group, used: Sequence[Used], now: float) -> dict[str, Any]:
    """A key, a user or a team as data."""
    data: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(one))
    data["limits"] = msgspec.to_builtins(one.limits)
    data["used"] = msgspec.to_builtins(periods(used, account_of(one), now))
    if isinstance(one, StoredKey):
        del data["secrets"]
        data["class"] = data.pop("priority")
        data["state"] = state(one, now)
    return data


def account_of(one: StoredKey | Group) -> str:
    """Under what its use is counted."""
    return f"key:{one.name}" if isinstance(one, StoredKey) else f"{one.kind}:{one.name}"


def table(book: KeyBook, used: Sequence[Used], now: float) -> str:
    """All keys, then what users and teams may have."""
    rows = [_row(one, used, now) for one in (*book.keys, *book.groups)]
    return printable(columns(_HEAD, rows))


def details(one: StoredKey | Group, used: Sequence[Used], now: float) -> str:
    """One of them, a line for each thing."""
    lines = [("name", one.name if isinstance(one, StoredKey) else account_of(one))]
    if isinstance(one, StoredKey):
        lines += [
            ("state", state(one, now)),
            ("class", f"{one.priority}, weight {one.weight:g}"),
            ("holder", _holder(one) or "-"),
            ("models", ", ".join(one.models) or "all"),
            ("labels", ", ".join(one.labels) or "-"),
            ("regions", ", ".join(one.regions) or "those that the rules allow"),
            ("made", day_of(one.created)),
        ]
    lines.append(("limits", limits_in_words(one.limits)))
    for period, said in periods(used, account_of(one), now).items():
        lines.append((period, f"{_used(said)}, {said.refused} refused"))
    width = max(len(name) for name, _ in lines)
    return printable("\n".join(f"{name.ljust(width)}  {text}" for name, text in lines))


def limits_in_words(limits: Limits) -> str:
    """Those that there are."""
    pairs = msgspec.structs.asdict(limits).items()
    return (
        ", ".join(f"{value:g} {_SHORT[name]}" for name, value in pairs if value is not None) or "-"
    )


def state(key: StoredKey, now: float) -> str:
    """Whether it opens anything."""
    if not key.enabled:
        return "off"
    if key.expires is None:
        return "on"
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.expires))
    return f"expired {moment}" if now >= key.expires else f"on until {moment}"


def _row(one: StoredKey | Group, used: Sequence[Used], now: float) -> tuple[str, ...]:
    today = _used(periods(used, account_of(one), now)["today"])
    limits = limits_in_words(one.limits)
    if isinstance(one, Group):
        return account_of(one), "-", "-", "-", limits, today, "-"
    scope = [*one.models, *(f"@{region}" for region in one.regions), *(f"+{x}" for x in one.labels)]
    shown_scope = " ".join(scope) or "all"
    return one.name, one.priority, _holder(one) or "-", shown_scope, limits, today, state(one, now)


def _holder(key: StoredKey) -> str:
    return " ".join([key.user, f"({key.team})" if key.team else ""]).strip()


def _used(said: Sums) -> str:
    money = f", ${said.dollars:.4f}" if said.dollars else ""
    return f"{said.requests} requests, {said.tokens} tokens{money}"
