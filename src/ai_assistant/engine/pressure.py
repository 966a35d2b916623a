"""Gives memory back between two steps, when the node says that it is short."""

import ctypes
import sys

from ai_assistant.engine.setup import Parts


def ease(parts: Parts, warm_bytes: int) -> None:
    """The tier in RAM has so many bytes from now on; what it loses is computed again."""
    warm = parts.residence.tiers.warm
    held = warm.bytes
    warm.resize(warm_bytes)
    if warm.bytes < held:
        give_back()


def give_back() -> None:
    """What the allocator keeps for later goes to the system."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
