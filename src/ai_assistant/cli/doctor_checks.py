"""Facts in, verdicts out: what is well, what it means where it is not, what to do."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import msgspec

from ai_assistant.cli.output import size
from ai_assistant.devices.facts import CpuFacts, DiskFacts, GpuFacts, MemoryFacts
from ai_assistant.devices.judge import Finding

Verdict = Literal["ok", "warn", "fail"]
PortState = Literal["free", "node", "taken", "refused"]
_GB = 10**9
_DISKS = {
    "nvme": "NVMe",
    "ssd": "SSD",
    "hdd": "spinning disk",
    "network": "network",
    "unknown": "disk of unknown speed",
}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `meaning` and `advice` are empty where all is well."""

    name: str
    verdict: Verdict
    found: str
    meaning: str = ""
    advice: str = ""


class KernelReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernels say of themselves, from a process of their own."""

    version: str | None = None
    system_info: str = ""
    devices: list[dict[str, Any]] = []
    error: str | None = None

    def gpus(self) -> list[str]:
        """Graphics cards that the kernels can compute on."""
        return [
            f"{one.get('name')} ({one.get('description')})"
            for one in self.devices
            if one.get("kind") in ("gpu", "igpu")
        ]


def check_python(version: tuple[int, ...]) -> Check:
    """3.11 or later."""
    found = ".".join(map(str, version[:3]))
    if version[:2] >= (3, 11):
        return Check(name="Python", verdict="ok", found=found)
    return Check(
        name="Python",
        verdict="fail",
        found=found,
        meaning="ai-assistant needs 3.11 or later.",
        advice="Install a newer Python.",
    )


def check_compiler(present: Collection[str], *, kernels_work: bool) -> Check:
    """Needed only to build the kernels."""
    found = ", ".join(sorted(present)) or "none"
    has_all = bool({"cc", "c++"} <= set(present))
    if has_all or kernels_work:
        return Check(name="Compiler", verdict="ok", found=found)
    return Check(
        name="Compiler",
        verdict="warn",
        found=found,
        meaning="The kernels cannot be built here.",
        advice="Install a C++ compiler: apt install build-essential, or xcode-select --install",
    )


def check_kernels(report: KernelReport | None) -> Check:
    """Whether a model can be computed at all."""
    if report is None:
        return Check(
            name="Kernels",
            verdict="fail",
            found="no answer",
            meaning="The engine's process does not start.",
            advice="Install again with `make run`.",
        )
    if report.error:
        return Check(
            name="Kernels",
            verdict="fail",
            found=report.error,
            meaning="No model can be computed.",
            advice="Build them again with `make run`; a compiler is needed.",
        )
    return Check(name="Kernels", verdict="ok", found=report.version or "loaded")


def check_features(cpu: CpuFacts) -> Check:
    """Wide arithmetic makes the difference between fast and slow."""
    found = f"{cpu.name}: {', '.join(_wide(cpu)) or 'no wide arithmetic found'}"
    if not cpu.features or _wide(cpu):
        found = found if cpu.features else f"{cpu.name}: features cannot be read here"
        return Check(name="Processor", verdict="ok", found=found)
    return Check(
        name="Processor",
        verdict="warn",
        found=found,
        meaning="Without AVX2 or NEON an answer takes several times as long.",
        advice="Use small models, or a newer machine.",
    )


def _wide(cpu: CpuFacts) -> list[str]:
    words = {
        "AVX2": {"avx2"},
        "AVX-512": {"avx512f"},
        "VNNI": {"avx512_vnni", "avx_vnni"},
        "BF16": {"avx512_bf16", "bf16"},
        "AMX": {"amx_int8", "amx_tile"},
        "NEON": {"asimd", "neon"},
        "dot product": {"asimddp"},
        "I8MM": {"i8mm"},
        "SVE": {"sve"},
    }
    return [word for word, names in words.items() if cpu.features & names]


def check_cores(cpu: CpuFacts) -> Check:
    """How much computing a container or the system grants."""
    found = f"{cpu.usable} of {cpu.logical} usable, {cpu.physical} physical"
    if cpu.quota is not None:
        found += f", quota {cpu.quota:g}"
    granted = min(cpu.usable, cpu.quota or cpu.usable)
    if granted >= 2:
        return Check(name="Cores", verdict="ok", found=found)
    return Check(
        name="Cores",
        verdict="warn",
        found=found,
        meaning="One core computes the model and serves the clients.",
        advice="Give this machine or container two cores or more.",
    )


def check_memory(memory: MemoryFacts) -> Check:
    """What a model can have."""
    found = f"{size(memory.available)} free of {size(memory.total)}"
    if memory.available >= 2 * _GB:
        return Check(name="Memory", verdict="ok", found=found)
    tight = memory.available < _GB // 2
    return Check(
        name="Memory",
        verdict="fail" if tight else "warn",
        found=found,
        meaning="Not even the starter model fits." if tight else "Only very small models fit.",
        advice="Close other programs, or add memory.",
    )


def check_disk(disk: DiskFacts) -> Check:
    """Room for history, speed for loading."""
    found = f"{size(disk.free)} free, {_DISKS[disk.kind]} ({disk.path})"
    if disk.free < _GB // 5:
        return Check(
            name="Disk",
            verdict="fail",
            found=found,
            meaning="Conversations cannot be kept.",
            advice="Make room, or set store.data_dir to another disk.",
        )
    if disk.kind in ("hdd", "network") or disk.free < 5 * _GB:
        slow = disk.kind in ("hdd", "network")
        return Check(
            name="Disk",
            verdict="warn",
            found=found,
            meaning="Models load slowly." if slow else "There is little room for models.",
            advice="Keep models on an SSD." if slow else "Make room.",
        )
    return Check(name="Disk", verdict="ok", found=found)


def check_gpu(report: KernelReport | None, gpus: GpuFacts) -> Check:
    """A GPU that the kernels were not built for does nothing."""
    usable = report.gpus() if report else []
    if usable:
        return Check(name="GPU", verdict="ok", found=", ".join(usable))
    if gpus.nvidia:
        return _idle_gpu(", ".join(gpus.nvidia), "cuda")
    if gpus.metal:
        return _idle_gpu("Apple GPU", "metal")
    cards = [maker for maker in gpus.vendors if maker in ("AMD", "NVIDIA")]
    if cards:
        return _idle_gpu(", ".join(cards), "vulkan")
    if "Intel" in gpus.vendors:  # Mostly built into the processor, and no faster than it.
        return Check(name="GPU", verdict="ok", found="Intel graphics, unused")
    return Check(name="GPU", verdict="ok", found="none; the processor computes")


def _idle_gpu(found: str, kernels: str) -> Check:
    return Check(
        name="GPU",
        verdict="warn",
        found=f"{found}, unused",
        meaning="The kernels were built without support for it.",
        advice=f"Rebuild with `make run KERNELS={kernels}`",
    )


def check_port(state: PortState, url: str) -> Check:
    """Where the node listens, or could."""
    if state == "node":
        return Check(name="Port", verdict="ok", found=f"a node runs at {url}")
    if state == "refused":
        return Check(
            name="Port",
            verdict="warn",
            found=f"a node runs at {url}, and this key does not open it",
            meaning="The commands here cannot use the node.",
            advice="Set AI_ASSISTANT_API_KEY or server.api_key_file.",
        )
    if state == "free":
        return Check(name="Port", verdict="ok", found=f"{url} is free")
    return Check(
        name="Port",
        verdict="fail",
        found=f"another program listens at {url}",
        meaning="`ai-assistant serve` cannot start there.",
        advice="Choose another with --port, or set server.port.",
    )


def check_settings(file: Path, problems: Collection[str], warnings: Collection[str]) -> Check:
    """Whether the settings can be used."""
    found = str(file) if file.exists() else f"defaults ({file} does not exist)"
    if problems or warnings:
        return Check(
            name="Settings",
            verdict="fail" if problems else "warn",
            found=found,
            meaning=" ".join([*problems, *warnings]),
            advice="Mend that; `ai-assistant config show` lists every key.",
        )
    return Check(name="Settings", verdict="ok", found=found)


def check_data(folder: Path, problem: str | None) -> Check:
    """Whether conversations can be kept."""
    if problem is None:
        return Check(name="Data", verdict="ok", found=str(folder))
    return Check(
        name="Data",
        verdict="fail",
        found=f"{folder}: {problem}",
        meaning="Conversations and history cannot be kept.",
        advice="Make the folder writable, or set store.data_dir.",
    )


def check_offer(finding: Finding) -> Check:
    """What the system offers, already judged."""
    return Check(
        name=finding.name,
        verdict=finding.verdict,
        found=finding.found,
        meaning=finding.meaning,
        advice=finding.advice,
    )


def check_browser(present: bool, url: str) -> Check:
    """Where the console opens."""
    if present:
        return Check(name="Console", verdict="ok", found=f"{url}/")
    address = url.removeprefix("http://")
    tunnel = f"ssh -L {address.rpartition(':')[2]}:{address} THIS-MACHINE"
    found = f"no browser here; open {url}/ elsewhere, through {tunnel}"
    return Check(name="Console", verdict="ok", found=found)
