"""Maps a file without reading it: libllama asks for all of it at once (MAP_POPULATE), on one thread
and whether there is room or not. Memory that is locked as it is touched is not populated.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

_FUTURE, _ON_FAULT = 2, 4
"""MCL_FUTURE, MCL_ONFAULT"""


@contextmanager
def unpopulated() -> Generator[Callable[[], None]]:
    """New mappings stay empty, where this process may lock memory, until the body ends or calls
    what it gets: as soon as the file is mapped, since what is locked cannot be given up."""
    if sys.platform != "linux" or not _may_lock():
        yield lambda: None
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mlockall(_FUTURE | _ON_FAULT)
    try:
        yield lambda: libc.munlockall()
    finally:
        libc.munlockall()


def _may_lock() -> bool:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return soft == resource.RLIM_INFINITY or (os.geteuid() == 0 and _capable())


def _capable() -> bool:
    """CAP_IPC_LOCK, without which the limit holds for root too."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("CapEff"))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> 14 & 1)
