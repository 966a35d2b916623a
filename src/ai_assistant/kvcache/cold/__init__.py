"""The cold tier: blocks of KV on disk, that outlive the process and the context.

A put is queued, packed and written by one thread of low priority; a fetch is read, verified and
unpacked ahead by another. What is on disk is known from the names of the files alone. A file is
there whole or not at all, and what it gives out was verified to the last bit.
"""

from ai_assistant.kvcache.blocks import BlockId
from ai_assistant.kvcache.cold.fetch import Fetch
from ai_assistant.kvcache.cold.store import ColdStatus, ColdStore

__all__ = ["BlockId", "ColdStatus", "ColdStore", "Fetch"]
