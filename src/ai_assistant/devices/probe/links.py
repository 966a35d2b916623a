"""Network links, their kind and speed."""

import re

from ai_assistant.devices.probe.text import number
from ai_assistant.devices.profile import Link, LinkKind
from ai_assistant.devices.source import Source

_NET = "/sys/class/net"


def read_links(source: Source) -> tuple[Link, ...]:
    """Those that lead out of the machine."""
    if source.system == "Darwin":
        return parse_ifconfig(source.run("ifconfig"))
    names = [path.rpartition("/")[2] for path in source.find(f"{_NET}/*")]
    ethernet = [_link(source, name) for name in names if name not in ("lo", "bonding_masters")]
    return (*ethernet, *_infiniband(source))


def _link(source: Source, name: str) -> Link:
    folder = f"{_NET}/{name}"
    speed = number(source.read(f"{folder}/speed"))  # Mbit/s; -1 or nothing where it is not known.
    return Link(
        name=name,
        kind=_kind(source, folder),
        up=source.read(f"{folder}/operstate") == "up",
        bits_per_second=speed * 1e6 if speed and speed > 0 else None,
    )


def _kind(source: Source, folder: str) -> LinkKind:
    if source.find(f"{folder}/wireless") or source.find(f"{folder}/phy80211"):
        return "wifi"
    if not source.find(f"{folder}/device"):
        return "virtual"
    kinds: dict[int | None, LinkKind] = {1: "ethernet", 32: "infiniband"}
    return kinds.get(number(source.read(f"{folder}/type")), "unknown")


def _infiniband(source: Source) -> list[Link]:
    found: list[Link] = []
    for folder in source.find("/sys/class/infiniband/*/ports/*"):
        parts = folder.split("/")
        rate = re.match(r"([\d.]+) Gb/sec", source.read(f"{folder}/rate") or "")
        found.append(
            Link(
                name=f"{parts[-3]}/{parts[-1]}",
                kind="infiniband",
                up="ACTIVE" in (source.read(f"{folder}/state") or ""),
                bits_per_second=float(rate[1]) * 1e9 if rate else None,
            )
        )
    return found


def parse_ifconfig(text: str | None) -> tuple[Link, ...]:
    """Links of a Mac; its speed stands in a line like `media: autoselect (1000baseT <…>)`."""
    found: list[Link] = []
    for block in re.split(r"\n(?=\S)", text or ""):
        name = block.partition(":")[0].strip()
        if not re.fullmatch(r"en\d+", name):
            continue
        media = re.search(r"media: .*?(\d+)(G?)base", block, re.IGNORECASE)
        unit = 1e9 if media and media[2] else 1e6
        found.append(
            Link(
                name=name,
                kind="ethernet" if media else "unknown",
                up="status: active" in block,
                bits_per_second=int(media[1]) * unit if media else None,
            )
        )
    return tuple(found)
