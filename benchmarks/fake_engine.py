"""An engine that answers at once: a real process on the end of real pipes, without a model.

`python -m benchmarks.fake_engine [TOKENS]`, started in the place of an engine. What is measured
through it
is what node, pipes and gateway cost.
"""

import os
import sys

from ai_assistant.protocol.chunks import TokenChunk, Usage
from ai_assistant.protocol.frames import (
    Chunks,
    EngineReport,
    Generate,
    Ready,
    Shutdown,
    pack,
    read_frame,
    unpack_order,
)
from ai_assistant.protocol.status import EngineStatus

STATUS = EngineStatus(
    pid=os.getpid(), slots=64, running=0, waiting=0, parked=0, context_limit=2048, cells_total=0,
    cells_used=0, cells_retained=0, prompt_tokens=0, cached_tokens=0, generated_tokens=0,
    prefill_tokens_per_second=0, decode_tokens_per_second=0, steps=0, decode_ms_mean=0,
    python_ms_mean=0, memory_bytes=0, threads=1,
)  # fmt: skip


def main() -> None:
    """Serve until told to end."""
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    usage = Usage(prompt_tokens=24, completion_tokens=tokens)
    last = TokenChunk(text=".", finish="stop", usage=usage)
    read_frame(sys.stdin.buffer)
    send(Ready(STATUS))
    while body := read_frame(sys.stdin.buffer):
        order = unpack_order(body)
        if isinstance(order, Shutdown):
            break
        if isinstance(order, Generate):
            answer(order.request.request_id, tokens, last)


def answer(request_id: str, tokens: int, last: TokenChunk) -> None:
    """Every token in a frame of its own, as a slow model would send it."""
    for _ in range(tokens - 1):
        send(Chunks([(request_id, TokenChunk(text=" word"))]))
    send(Chunks([(request_id, last)]))


def send(report: EngineReport) -> None:
    os.write(sys.stdout.fileno(), pack(report))


if __name__ == "__main__":
    main()
