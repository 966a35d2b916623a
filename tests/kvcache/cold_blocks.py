"""Blocks and stores for the tests of the cold tier."""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ai_assistant.kvcache.blocks import State, block_name, root_name
from ai_assistant.kvcache.cold import BlockId, ColdStore

ROOT = root_name(b"")
PRINT = b"\x01" * 16
SECONDS = 10.0
OpenStore = Callable[..., ColdStore]


class Block:
    """A block with its tokens and a state, all of them following from `number`."""

    def __init__(self, number: int, parent: bytes = ROOT, *, size: int = 1000) -> None:
        self.tokens = array("i", [number, number + 1, number + 2])
        self.name = block_name(parent, self.tokens)
        self.id = BlockId(parent, self.name, len(self.tokens))
        self.state: State = np.random.default_rng(number).integers(0, 256, size, np.uint8)

    def put(self, store: ColdStore, *, replaces: bytes | None = None, pinned: bool = False) -> bool:
        return store.put(self.id, self.tokens, self.state, replaces=replaces, pinned=pinned)


def chain(length: int, *, first: int = 0, size: int = 1000) -> list[Block]:
    """Blocks of which each follows the one before."""
    blocks: list[Block] = []
    for number in range(first, first + length):
        blocks.append(Block(number, blocks[-1].name if blocks else ROOT, size=size))
    return blocks


def put_all(store: ColdStore, *blocks: Block) -> None:
    """Written when this returns."""
    for block in blocks:
        assert block.put(store)
    assert store.flush(SECONDS)


def fetched(store: ColdStore, *blocks: Block) -> list[State]:
    """What a fetch gives, to its end."""
    fetch = store.fetch([block.name for block in blocks])
    states: list[State] = []
    while not (fetch.done or fetch.failed):
        state = fetch.next(SECONDS)
        if state is not None:
            states.append(state)
    return states


def gives(store: ColdStore, *blocks: Block) -> bool:
    """Whether all of them come back as they were."""
    states = fetched(store, *blocks)
    return len(states) == len(blocks) and all(
        bool((state == block.state).all()) for state, block in zip(states, blocks, strict=True)
    )


@contextmanager
def opened(folder: Path, **changes: object) -> Iterator[ColdStore]:
    """A store that is ready, and closed at the end."""
    given = {"fingerprint": PRINT, "budget": 1 << 30, "daily": 1 << 30, "word": 1} | changes
    store = ColdStore(folder, **given)  # pyright: ignore[reportArgumentType]
    try:
        assert store.wait_ready(SECONDS)
        yield store
        store.check_integrity()
    finally:
        store.close(SECONDS)


def files(folder: Path) -> list[Path]:
    """The blocks' files of all models."""
    return sorted(path for path in folder.glob("*/*-*-*") if path.parent.name != "quarantine")
