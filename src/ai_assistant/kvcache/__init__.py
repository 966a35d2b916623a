"""Which tokens lie where in the KV cache, who shares them, who must go. Bookkeeping, no kernels."""
