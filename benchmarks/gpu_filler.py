"""Takes memory of the first GPU away: `python -m benchmarks.gpu_filler GIGABYTES-LEFT-FREE`.

Says how many bytes it holds and keeps them until its input ends.
"""

import sys

from ai_assistant.engine.kernels.devices import describe, handles
from ai_assistant.engine.kernels.ggml import ggml

PIECE = 128 << 20
"""One allocation: more at once is refused sooner."""


def main() -> None:
    free = int(float(sys.argv[1]) * 1e9)
    found = next((one for one in handles() if describe(one).kind == "gpu"), None)
    if found is None:
        raise SystemExit("There is no GPU here.")
    buffers = ggml.ggml_backend_get_default_buffer_type(ggml.ggml_backend_dev_init(found, None))
    held = 0
    while describe(found).memory_free > free + PIECE:
        if not ggml.ggml_backend_buft_alloc_buffer(buffers, PIECE):
            break
        held += PIECE
    print(held, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
