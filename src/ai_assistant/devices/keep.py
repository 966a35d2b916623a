"""How much of ended conversations is kept, in memory and on disk: a pure decision from facts."""

import msgspec
from msgspec import structs

from ai_assistant.devices.settings import CacheSettings
from ai_assistant.protocol.engine_plan import ColdPlan, EnginePlan, Pin

GIGABYTE = 1 << 30
DISK_SHARE = 0.1
DISK_CAP = 32 * GIGABYTE
"""Share of the free space, and bytes at most."""


class Place(msgspec.Struct, frozen=True):
    """A folder, the bytes of blocks in it, and those that its disk has left."""

    folder: str
    used: int
    free: int


def plan_keeping(
    plan: EnginePlan, settings: CacheSettings, place: Place, pins: tuple[Pin, ...]
) -> EnginePlan:
    """The plan with its tiers; the owner's settings win where they are set."""
    if plan.embedding:
        return plan
    warm = int(settings.memory_gb * GIGABYTE) or plan.warm_bytes
    return structs.replace(plan, warm_bytes=warm, cold=_cold(settings, place), pins=pins)


def _cold(settings: CacheSettings, place: Place) -> ColdPlan | None:
    if not settings.disk:
        return None
    return ColdPlan(
        folder=place.folder,
        bytes=disk_bytes(settings, place),
        daily_bytes=int(settings.daily_write_gb * GIGABYTE),
    )


def disk_bytes(settings: CacheSettings, place: Place) -> int:
    """What all models' blocks together may take."""
    fair = min(DISK_CAP, int((place.free + place.used) * DISK_SHARE))
    return int(settings.disk_gb * GIGABYTE) or fair
