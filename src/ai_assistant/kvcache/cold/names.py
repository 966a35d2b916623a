"""How blocks are named on disk: PARENT-NAME-COUNT, and `.pinned` behind those that never go."""

import re

from ai_assistant.kvcache.blocks import BlockId

QUARANTINE = "quarantine"
_PINNED = ".pinned"
_FILE = re.compile(r"([0-9a-f]{32})-([0-9a-f]{32})-(\d{1,9})(\.pinned)?")
_FINGERPRINT = re.compile(r"(?:[0-9a-f]{2}){1,32}")


def file_name(block: BlockId, *, pinned: bool) -> str:
    """The name of its file."""
    end = _PINNED if pinned else ""
    return f"{block.parent.hex()}-{block.name.hex()}-{block.count}{end}"


def parse_file_name(text: str) -> tuple[BlockId, bool] | None:
    """The block of a file and whether it is pinned; None for a file that is not a block's."""
    found = _FILE.fullmatch(text)
    if found is None:
        return None
    parent, name, count, end = found.groups()
    return BlockId(bytes.fromhex(parent), bytes.fromhex(name), int(count)), end is not None


def is_fingerprint(text: str) -> bool:
    """Whether a folder's name is that of a model's blocks."""
    return _FINGERPRINT.fullmatch(text) is not None
