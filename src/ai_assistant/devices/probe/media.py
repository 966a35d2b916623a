"""Engines that decode video: facts, used by nobody yet."""

import re
from collections.abc import Sequence

from ai_assistant.devices.probe.text import table
from ai_assistant.devices.profile import MediaEngine
from ai_assistant.devices.source import NvidiaCard, Source

_VA_DRIVERS = ("i915", "xe", "amdgpu", "radeon", "nouveau")
_CODEC = re.compile(
    r"VAProfile(MPEG2|MPEG4|VC1|H263|H264|HEVC|VP8|VP9|AV1|JPEG)\w*\s*:\s*VAEntrypointVLD"
)
_DECODERS = re.compile(r"decode|rpivid|hevc-dec|hantro|rkvdec|cedrus|iris|venus", re.IGNORECASE)


def read_media(source: Source, cards: Sequence[NvidiaCard]) -> tuple[MediaEngine, ...]:
    """Every engine that can be seen."""
    found = [MediaEngine(kind="NVDEC", where=card.pci) for card in cards if card.decodes]
    found += _render_nodes(source)
    for folder in source.find("/sys/class/video4linux/video[0-9]*"):
        name = source.read(f"{folder}/name") or ""
        if _DECODERS.search(name):
            found.append(MediaEngine(kind="V4L2", where=name))
    if source.system == "Darwin":
        found.append(MediaEngine(kind="VideoToolbox", where="system"))
    return tuple(dict.fromkeys(found))


def _render_nodes(source: Source) -> list[MediaEngine]:
    found: list[MediaEngine] = []
    for folder in source.find("/sys/class/drm/renderD[0-9]*"):
        event = table(source.read(f"{folder}/device/uevent"), "=")
        if event.get("DRIVER") in _VA_DRIVERS:
            node = f"/dev/dri/{folder.rpartition('/')[2]}"
            asked = source.run("vainfo", "--display", "drm", "--device", node)
            found.append(MediaEngine(kind="VA-API", where=node, codecs=va_codecs(asked)))
    return found


def va_codecs(text: str | None) -> tuple[str, ...]:
    """Those that `vainfo` lists with an entry for decoding."""
    return tuple(dict.fromkeys(_CODEC.findall(text or "")))
