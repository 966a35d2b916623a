"""Measures a machine once: memory, the kernels on every device, disks. Polite, and soon done."""

import time
from collections.abc import Callable, Iterator

import msgspec
from msgspec import structs

from ai_assistant.devices.measure.disk import measure_disk
from ai_assistant.devices.measure.memory import measure_memory
from ai_assistant.devices.measure.polite import Others
from ai_assistant.devices.profile import Accelerator, Disk, Profile
from ai_assistant.protocol.kernels import DeviceSpeed, MeasureTask

SECONDS = 17.0
"""For all of it, waiting for others included; ends of parts may take a second or two more."""
_MEMORY, _CPU, _DISK, _CARD = 2.5, 5.0, 1.6, 4.0
"""Seconds of each, at most."""
_LEAST = 1.0
"""With less time left nothing more is begun."""

Tell = Callable[[str, float], None]
"""Gets what is measured now and the share that is done."""
Ask = Callable[[MeasureTask], DeviceSpeed | None]


class _Part(msgspec.Struct, frozen=True):
    """One thing to measure."""

    name: str
    seconds: float
    take: Callable[[Profile, float], Profile]


def measure(
    profile: Profile, ask: Ask, *, now: str, tell: Tell = lambda _name, _share: None,
    seconds: float = SECONDS, others: Others | None = None,
) -> Profile:  # fmt: skip
    """The profile with everything measured that could be in the time.

    Before each part it waits a little for other programs to be done. Ctrl-C ends it at once.
    """
    others = others or Others()
    begun = time.monotonic()
    parts = list(_parts(profile, ask))
    whole = sum(part.seconds for part in parts)
    done, disturbed = 0.0, False
    for part in parts:
        tell(part.name, done / whole)
        left = seconds - (time.monotonic() - begun)
        if left < _LEAST:
            break
        disturbed |= not others.wait_for_quiet()
        # A fair share of what is left, if there is less than all parts would like.
        fair = left * part.seconds / (whole - done)
        profile = part.take(profile, min(part.seconds, fair))
        done += part.seconds
    tell("", 1.0)
    return structs.replace(
        profile,
        measured_at=now,
        disturbed=disturbed,
        seconds=round(time.monotonic() - begun, 2),
    )


def _parts(profile: Profile, ask: Ask) -> Iterator[_Part]:
    yield _Part("memory", _MEMORY, _memory)
    for place, disk in enumerate(profile.disks):
        if disk.kind != "memory":
            yield _Part(f"disk {disk.device or disk.mount or ''}".strip(), _DISK, _disk(place))
    if profile.kernels:
        yield _Part("processor", _CPU, _cpu(ask))
    for place, card in enumerate(profile.accelerators):
        if card.device:
            yield _Part(f"{card.device} {card.name}", _CARD, _card(place, card.device, ask))


def thread_counts(profile: Profile) -> tuple[int, ...]:
    """Doublings, the fast cores alone, all cores: where the curve bends."""
    most = profile.cpu.compute_cores
    fast = profile.cpu.kinds[0].cores if profile.cpu.kinds else most
    doubled = {1 << power for power in range(most.bit_length())}
    return tuple(sorted(count for count in doubled | {fast, most} if count <= most))


def _memory(profile: Profile, seconds: float) -> Profile:
    caches = sum(one.bytes * one.count for one in profile.cpu.caches if one.level >= 2)
    rates = measure_memory(
        thread_counts(profile),
        buffer_bytes=min(max(128 << 20, 4 * caches), 1 << 30, profile.memory.free_bytes // 8),
        seconds=seconds,
    )
    return structs.replace(profile, memory=structs.replace(profile.memory, read=rates))


def _disk(place: int) -> Callable[[Profile, float], Profile]:
    def take(profile: Profile, seconds: float) -> Profile:
        disks = list(profile.disks)
        speed = measure_disk(disks[place].folders, seconds)
        disks[place] = _with_speed(disks[place], speed)
        return structs.replace(profile, disks=tuple(disks))

    return take


def _with_speed(disk: Disk, speed: object) -> Disk:
    return structs.replace(disk, speed=speed)


def _cpu(ask: Ask) -> Callable[[Profile, float], Profile]:
    def take(profile: Profile, seconds: float) -> Profile:
        *fewer, most = thread_counts(profile)
        task = MeasureTask(
            device="CPU",
            threads=most,
            fewer_threads=tuple(fewer),
            seconds=seconds,
            memory_limit=profile.memory.free_bytes // 8,
        )
        speed = ask(task)
        if speed is None:
            return profile
        cpu = structs.replace(
            profile.cpu, matrices=speed.matrices, launch_seconds=speed.launch_seconds
        )
        return structs.replace(profile, cpu=cpu)

    return take


def _card(place: int, device: str, ask: Ask) -> Callable[[Profile, float], Profile]:
    def take(profile: Profile, seconds: float) -> Profile:
        cards: list[Accelerator] = list(profile.accelerators)
        cards[place] = structs.replace(
            cards[place], speed=ask(MeasureTask(device=device, seconds=seconds))
        )
        return structs.replace(profile, accelerators=tuple(cards))

    return take
