"""An engine whose GPU holds only so many layers, and which refuses or crashes with more.

`python -m tests.fakes.full_gpu LAYERS refuse|crash`
"""

import os
import sys

from ai_assistant.protocol.errors import ModelLoadFailed
from ai_assistant.protocol.frames import (
    Load,
    LoadFailed,
    Ready,
    Shutdown,
    pack,
    read_frame,
    unpack_order,
)
from ai_assistant.protocol.status import EngineStatus

STATUS = EngineStatus(
    pid=1, slots=1, running=0, waiting=0, parked=0, context_limit=1, cells_total=1, cells_used=0,
    cells_retained=0, prompt_tokens=0, cached_tokens=0, generated_tokens=0,
    prefill_tokens_per_second=0, decode_tokens_per_second=0, steps=0, decode_ms_mean=0,
    python_ms_mean=0, memory_bytes=0, threads=1,
)  # fmt: skip


def main(layers: int, how: str) -> int:
    order = unpack_order(read_frame(sys.stdin.buffer) or b"")
    assert isinstance(order, Load)
    if order.plan.gpu_layers > layers:
        if how == "crash":
            sys.stderr.write("CUDA error: out of memory\n")
            sys.stderr.flush()
            os._exit(134)
        reason = ModelLoadFailed("it could not be loaded: unable to allocate CUDA0 buffer")
        return _say(LoadFailed(reason.info()), 1)
    _say(Ready(STATUS), 0)
    while frame := read_frame(sys.stdin.buffer):
        if isinstance(unpack_order(frame), Shutdown):
            break
    return 0


def _say(report: LoadFailed | Ready, code: int) -> int:
    sys.stdout.buffer.write(pack(report))
    sys.stdout.buffer.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
