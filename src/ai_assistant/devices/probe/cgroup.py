"""What a control group allows this process: the strictest limit on the way to the root."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from ai_assistant.devices.facts import parse_quota
from ai_assistant.devices.probe.text import number, table
from ai_assistant.devices.source import Source

ROOT = "/sys/fs/cgroup"
_NO_LIMIT = 1 << 60
"""A group without a limit shows a number near 2**63."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The group of this process and what it may have."""

    version: Literal[1, 2] | None = None
    path: str | None = None
    """The folder of the group itself."""
    quota_cores: float | None = None
    memory_limit: int | None = None
    memory_used: int = 0
    """Of that limit, what cannot be dropped at once."""


def read_group(source: Source) -> Group:
    """The limits of this process."""
    lines = (source.read("/proc/self/cgroup") or "").splitlines()
    paths = {part[1]: part[2] for line in lines if len(part := line.split(":", 2)) == 3}
    if source.read(f"{ROOT}/cgroup.controllers") is not None:
        return _second(source, paths.get("", "/"))
    if source.find(f"{ROOT}/memory") or source.find(f"{ROOT}/cpu"):
        return _first(source, paths)
    return Group()


def _upwards(path: str) -> Iterator[str]:
    """The group's folders, its own first. A container sees its own group as the root."""
    place = PurePosixPath("/" + path.strip("/"))
    for one in (place, *place.parents):
        yield ROOT + ("" if str(one) == "/" else str(one))


def _second(source: Source, path: str) -> Group:
    folders = list(_upwards(path))
    quotas = [parse_quota(text) for one in folders if (text := source.read(f"{one}/cpu.max"))]
    limit, used = _tightest(
        [
            (number(source.read(f"{one}/{name}")), _used(source, one))
            for one in folders
            for name in ("memory.max", "memory.high")
        ]
    )
    own = next((one for one in folders if source.find(f"{one}/cgroup.procs")), folders[-1])
    return Group(
        version=2,
        path=own,
        quota_cores=min((one for one in quotas if one is not None), default=None),
        memory_limit=limit,
        memory_used=used,
    )


def _used(source: Source, folder: str) -> int:
    """Cached files that nobody used lately are dropped when memory is short."""
    used = number(source.read(f"{folder}/memory.current")) or 0
    cached = number(table(source.read(f"{folder}/memory.stat"), " ").get("inactive_file")) or 0
    return max(0, used - cached)


def _first(source: Source, paths: dict[str, str]) -> Group:
    def own(controller: str) -> list[str]:
        path = next((p for names, p in paths.items() if controller in names.split(",")), "/")
        base = f"{ROOT}/{controller}"
        return [base + one.removeprefix(ROOT) for one in _upwards(path)]

    quotas = [
        parse_quota(
            f"{source.read(f'{one}/cpu.cfs_quota_us')} {source.read(f'{one}/cpu.cfs_period_us')}"
        )
        for one in own("cpu")
    ]
    limit, used = _tightest(
        [
            (
                number(source.read(f"{one}/memory.limit_in_bytes")),
                number(source.read(f"{one}/memory.usage_in_bytes")) or 0,
            )
            for one in own("memory")
        ]
    )
    return Group(
        version=1,
        path=own("memory")[0],
        quota_cores=min((one for one in quotas if one is not None), default=None),
        memory_limit=limit,
        memory_used=used,
    )


def _tightest(limits: list[tuple[int | None, int]]) -> tuple[int | None, int]:
    """The limit that leaves least."""
    real = [(limit, used) for limit, used in limits if limit and 0 < limit < _NO_LIMIT]
    return min(real, key=lambda one: one[0] - one[1]) if real else (None, 0)
