"""Who must go from the disk: facts in, decision out."""

from collections.abc import Collection, Sequence

from ai_assistant.kvcache.cold.shelf import Shelved

_Key = tuple[str, bytes]


def victims(shelved: Sequence[Shelved], excess: int, kept: Collection[bytes]) -> list[Shelved]:
    """Blocks of `excess` bytes or more, in the order to delete them; fewer where no more may go.

    The least recently used go first. A block counts as used when any block behind it was, for
    without it those cannot be reached; so a chain goes from its tail. Pinned blocks, those named
    in `kept` and all before them stay.
    """
    blocks = {(one.fingerprint, one.block.name): one for one in shelved}
    depths = _depths(blocks)
    used = {key: one.used for key, one in blocks.items()}
    stays = {key for key, one in blocks.items() if one.pinned or one.block.name in kept}
    for key in sorted(blocks, key=depths.__getitem__, reverse=True):
        parent = _parent(blocks[key])
        if parent in blocks:
            used[parent] = max(used[parent], used[key])
            if key in stays:
                stays.add(parent)
    order = sorted(blocks.keys() - stays, key=lambda key: (used[key], -depths[key]))
    chosen: list[Shelved] = []
    for key in order:
        if excess <= 0:
            break
        chosen.append(blocks[key])
        excess -= blocks[key].size
    return chosen


def _parent(one: Shelved) -> _Key:
    return (one.fingerprint, one.block.parent)


def _depths(blocks: dict[_Key, Shelved]) -> dict[_Key, int]:
    """How many known blocks stand before each one."""
    depths: dict[_Key, int] = {}
    for start in blocks:
        path: list[_Key] = []
        key = start
        while key in blocks and key not in depths:
            depths[key] = 0  # Ends the walk in a circle, which only damaged names can make.
            path.append(key)
            key = _parent(blocks[key])
        depth = depths.get(key, -1) if key in blocks else -1
        for key in reversed(path):
            depth += 1
            depths[key] = depth
    return depths
