"""The disks below the folders that models and caches live in."""

import re
from pathlib import PurePosixPath

from ai_assistant.devices.probe.text import number
from ai_assistant.devices.profile import Disk, DiskKind
from ai_assistant.devices.source import Source

_NETWORK = ("nfs", "cifs", "smb", "sshfs", "fuse.sshfs", "9p", "afs", "webdav", "ceph", "lustre")
_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
_BLOCK = "/sys/class/block"
_VIRTUAL = re.compile(r"virtual|qemu|vbox|vmware|persistentdisk|elastic block", re.IGNORECASE)
_DEEP = 4
"""Layers of encryption, volumes and arrays above a disk that are looked through."""


def read_disks(source: Source, folders: tuple[str, ...]) -> tuple[Disk, ...]:
    """One for each disk, with the folders on it."""
    mounts = _mounts(source)
    found: list[Disk] = []
    for folder in dict.fromkeys(folders):
        disk = _disk(source, folder, mounts)
        same = next((one for one in found if one.mount and one.mount == disk.mount), None)
        if same:
            found[found.index(same)] = Disk(
                **{
                    name: getattr(same, name)
                    for name in same.__struct_fields__
                    if name != "folders"
                },
                folders=(*same.folders, folder),
            )
        else:
            found.append(disk)
    return tuple(found)


def _mounts(source: Source) -> list[tuple[str, str, str]]:
    """Device, place and file system, from `/proc/mounts` or from macOS's `mount`."""
    if text := source.read("/proc/mounts"):
        lines = [line.split() for line in text.splitlines()]
        return [
            (_unescaped(part[0]), _unescaped(part[1]), part[2]) for part in lines if len(part) >= 3
        ]
    found: list[tuple[str, str, str]] = []
    for line in (source.run("mount") or "").splitlines():  # `/dev/disk3s5 on /path (apfs, local)`
        device, on, rest = line.partition(" on ")
        place, bracket, kind = rest.rpartition(" (")
        if on and bracket:
            found.append((device, place, kind.partition(",")[0].rstrip(")")))
    return found


def _unescaped(word: str) -> str:
    """Spaces and backslashes in paths are written as octal numbers."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\134", "\\")):
        word = word.replace(code, letter)
    return word


def _disk(source: Source, folder: str, mounts: list[tuple[str, str, str]]) -> Disk:
    place = PurePosixPath(source.target(folder) or folder)
    # The last of several on one place is the one that is seen.
    above = [mount for mount in mounts if place.is_relative_to(mount[1])]
    device, mount, filesystem = max(
        reversed(above), key=lambda one: len(one[1]), default=(None, None, None)
    )
    space = source.space(folder)
    names = _physical(source, (device or "").rpartition("/")[2]) if device else []
    kinds: list[DiskKind] = [_kind(source, name) for name in names]
    return Disk(
        folders=(folder,),
        mount=mount,
        filesystem=filesystem,
        device=", ".join(names) or device,
        kind=_of_filesystem(filesystem) or _slowest(kinds),
        model=next(
            (m for name in names if (m := source.read(f"{_BLOCK}/{name}/device/model"))), None
        ),
        total_bytes=space[0] if space else None,
        free_bytes=space[1] if space else None,
    )


def _of_filesystem(filesystem: str | None) -> DiskKind | None:
    if filesystem is None:
        return None
    if filesystem.startswith(_NETWORK):
        return "network"
    return "memory" if filesystem in _MEMORY else None


def _slowest(kinds: list[DiskKind]) -> DiskKind:
    order: tuple[DiskKind, ...] = ("unknown", "hdd", "card", "ssd", "nvme")
    return min(kinds, key=order.index) if kinds else "unknown"


def _physical(source: Source, name: str, depth: int = 0) -> list[str]:
    """The disks below a partition, an encrypted volume or an array."""
    target = source.target(f"{_BLOCK}/{name}")
    if target is None or depth > _DEEP:
        mapped = _mapped(source, name) if depth == 0 else None
        return _physical(source, mapped, 1) if mapped else []
    if below := source.find(f"{_BLOCK}/{name}/slaves/*"):
        return [
            disk for one in below for disk in _physical(source, one.rpartition("/")[2], depth + 1)
        ]
    path = PurePosixPath(target)
    whole = source.read(f"{_BLOCK}/{name}/partition") is not None
    return [path.parent.name if whole else path.name]


def _mapped(source: Source, name: str) -> str | None:
    """`vg-root` of `/dev/mapper/vg-root` is `dm-0`."""
    for folder in source.find(f"{_BLOCK}/dm-*"):
        if source.read(f"{folder}/dm/name") == name:
            return folder.rpartition("/")[2]
    return None


def _kind(source: Source, name: str) -> DiskKind:
    model = source.read(f"{_BLOCK}/{name}/device/model") or ""
    # A virtual one says nothing true about what is below it.
    if name.startswith(("vd", "xvd")) or _VIRTUAL.search(model):
        return "unknown"
    if name.startswith("mmcblk"):
        return "card"
    rotational = number(source.read(f"{_BLOCK}/{name}/queue/rotational"))
    if rotational is None:
        return "unknown"
    return "hdd" if rotational else "nvme" if name.startswith("nvme") else "ssd"
