"""Cards and parts of chips that compute: the kernels' list, NVIDIA's driver and Linux's tables."""

import re
from collections.abc import Sequence

import msgspec
from msgspec import structs

from ai_assistant.devices.probe.text import number, table
from ai_assistant.devices.profile import Accelerator
from ai_assistant.devices.source import NvidiaCard, Source
from ai_assistant.protocol.kernels import DeviceKind, KernelDevice, KernelReport

VENDORS = {
    "0x10de": "NVIDIA",
    "0x1002": "AMD",
    "0x8086": "Intel",
    "0x106b": "Apple",
    "0x1022": "AMD",
}
_CARVED_OUT, _SURELY_CARVED_OUT = 4 << 30, 1 << 30
"""Bytes of main memory that firmware sets aside for a built-in card, at most; and by default."""
_NPU_DRIVERS = {"amdxdna": "AMD NPU", "intel_vpu": "Intel NPU", "qaic": "Qualcomm NPU"}
_NOT_A_CARD = ("BLAS", "CPU", "AMX", "ZenDNN", "KleidiAI")


class _Card(msgspec.Struct, frozen=True, kw_only=True):
    """What Linux's graphics tables tell of one card."""

    pci: str | None
    driver: str | None
    vendor: str | None
    product: str | None
    vram: int | None
    vram_used: int | None
    numa_node: int | None


def read_accelerators(
    source: Source, report: KernelReport | None, cards: Sequence[NvidiaCard], *, cpu: str
) -> tuple[Accelerator, ...]:
    """Each one once, those that the kernels can use first."""
    tables = {card.pci or card.driver: card for card in _graphics(source)}
    nvidia = {card.pci or f"nvml:{card.index}": card for card in cards}
    found: list[Accelerator] = []
    seen: set[str] = set()
    for device in report.devices if report else ():
        if device.kind in ("cpu", "meta", "unknown") or device.backend in _NOT_A_CARD:
            continue
        if device.pci in seen:  # CUDA and Vulkan both know it; the kernels prefer the first.
            continue
        seen |= {device.pci} if device.pci else set()
        found.append(
            _usable(device, tables.get(device.pci or ""), _nvidia_of(device, nvidia, len(found)))
        )
    seen |= {one.pci for one in found if one.pci}
    unused = [_unusable_nvidia(card) for key, card in nvidia.items() if key not in seen]
    seen |= set(nvidia)
    hidden = _without_address(found)
    unused += [
        _unusable(card, cpu)
        for card in tables.values()
        if card.pci not in seen and card.vendor not in hidden
    ]
    return (*found, *unused, *_npus(source))


def _without_address(found: list[Accelerator]) -> set[str]:
    """Makers of devices that did not tell their address: their cards must not be counted twice."""
    return {one.vendor for one in found if one.pci is None and one.vendor}


def _nvidia_of(device: KernelDevice, cards: dict[str, NvidiaCard], index: int) -> NvidiaCard | None:
    """By address; by place in the list for kernels that tell no address."""
    if device.pci:
        return cards.get(device.pci)
    ordered = list(cards.values())
    return ordered[index] if device.backend == "CUDA" and index < len(ordered) else None


def _usable(device: KernelDevice, card: _Card | None, nvidia: NvidiaCard | None) -> Accelerator:
    name = device.description or device.name
    plain = Accelerator(
        name=name,
        kind=device.kind,
        vendor=card.vendor if card else _vendor_in(name),
        device=device.name,
        backend=device.backend,
        memory_total_bytes=device.memory_total or None,
        memory_free_bytes=device.memory_free if device.memory_total else None,
        shares_memory=device.kind == "igpu" or device.backend == "Metal",
        pci=device.pci,
        driver=card.driver if card else None,
        numa_node=card.numa_node if card else None,
    )
    return _with_nvidia(plain, nvidia) if nvidia else plain


def _vendor_in(name: str) -> str | None:
    words = {"nvidia": "NVIDIA", "amd": "AMD", "radeon": "AMD", "intel": "Intel", "apple": "Apple"}
    return next((vendor for word, vendor in words.items() if word in name.lower()), None)


def _with_nvidia(plain: Accelerator, card: NvidiaCard) -> Accelerator:
    limits = None
    if card.power_least is not None and card.power_most is not None:
        limits = (card.power_least, card.power_most)
    return structs.replace(
        plain,
        vendor="NVIDIA",
        pci=plain.pci or card.pci or None,
        driver=card.driver,
        link_generation=card.link_generation,
        link_lanes=card.link_lanes,
        power_limit_watts=card.power_limit,
        power_limits_watts=limits,
        memory_total_bytes=plain.memory_total_bytes or card.memory_total,
        # The driver's number is of now; the kernels' list may be older.
        memory_free_bytes=(
            plain.memory_free_bytes if card.memory_free is None else card.memory_free
        ),
    )


def _unusable_nvidia(card: NvidiaCard) -> Accelerator:
    return _with_nvidia(Accelerator(name=card.name, kind="gpu"), card)


def _unusable(card: _Card, cpu: str) -> Accelerator:
    built_in = _is_built_in(card, cpu)
    kind: DeviceKind = "igpu" if built_in else "gpu"
    free = None
    if card.vram is not None and card.vram_used is not None and not built_in:
        free = card.vram - card.vram_used
    return Accelerator(
        name=" ".join(filter(None, (card.vendor, "graphics", card.product or card.driver))),
        kind=kind,
        vendor=card.vendor,
        memory_total_bytes=card.vram,
        memory_free_bytes=free,
        shares_memory=built_in,
        pci=card.pci,
        driver=card.driver,
        numa_node=card.numa_node,
    )


def _is_built_in(card: _Card, cpu: str) -> bool:
    """Of the chip: nothing says so outright, so by driver, memory and the processor's name."""
    if card.pci is None:
        return True
    if card.vendor == "AMD":
        most = _CARVED_OUT if "radeon" in cpu.lower() else _SURELY_CARVED_OUT
        return (card.vram or 0) <= most
    return card.vendor == "Intel" and card.pci.startswith("0000:00:")


def _graphics(source: Source) -> list[_Card]:
    folders = source.find("/sys/class/drm/card[0-9]*")
    names = [folder for folder in folders if re.search(r"/card\d+$", folder)]
    return [card for folder in names if (card := _card(source, f"{folder}/device"))]


def _card(source: Source, folder: str) -> _Card | None:
    event = table(source.read(f"{folder}/uevent"), "=")
    driver, pci = event.get("DRIVER"), event.get("PCI_SLOT_NAME")
    if not driver or (pci is None and not driver.startswith(("v3d", "panfrost", "msm", "asahi"))):
        return None  # A display without a processor of its own, such as a server's console.
    vendor = source.read(f"{folder}/vendor")
    if pci and (vendor or "").lower() not in VENDORS:
        return None
    node = number(source.read(f"{folder}/numa_node"))
    product = source.read(f"{folder}/device")
    return _Card(
        pci=pci.lower() if pci else None,
        driver=driver,
        vendor=VENDORS.get((vendor or "").lower()),
        product=product.removeprefix("0x") if product else None,
        vram=number(source.read(f"{folder}/mem_info_vram_total")),
        vram_used=number(source.read(f"{folder}/mem_info_vram_used")),
        numa_node=node if node is not None and node >= 0 else None,
    )


def _npus(source: Source) -> list[Accelerator]:
    found: list[Accelerator] = []
    for folder in source.find("/sys/class/accel/accel[0-9]*"):
        event = table(source.read(f"{folder}/device/uevent"), "=")
        if driver := event.get("DRIVER"):
            name = _NPU_DRIVERS.get(driver, f"accelerator ({driver})")
            pci = event.get("PCI_SLOT_NAME")
            found.append(
                Accelerator(
                    name=name, kind="accelerator", shares_memory=True, driver=driver, pci=pci
                )
            )
    return found
