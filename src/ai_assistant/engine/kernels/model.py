"""A GGUF file in memory."""

import ctypes
from collections.abc import Callable
from functools import cached_property
from typing import Any

from ai_assistant.engine.kernels import libllama
from ai_assistant.engine.kernels.libllama import llama
from ai_assistant.engine.kernels.placement import Placement, place
from ai_assistant.engine.kernels.vocabulary import Vocabulary
from ai_assistant.engine.kernels.watch import Watch


class LoadError(Exception):
    """libllama refused the file; the message holds its reasons."""


class Model:
    """Weights and vocabulary. Close it after the contexts that use it."""

    def __init__(
        self,
        path: str,
        *,
        gpu_layers: int = -1,
        share_weights: bool = False,
        placement: Placement | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Load `path`; `on_progress` hears 0 to 1. Raises `LoadError`.

        `share_weights` forgoes the copy that the kernels rearrange for this processor: then all
        processes that map the file use the same memory; types that gain from a copy are slower.
        """
        libllama.start()
        params = llama.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = not share_weights
        kept = place(params, placement or Placement())

        def report(fraction: float, _data: object) -> bool:
            if on_progress:
                on_progress(fraction)
            return True

        # Kept alive until the load returns: libllama holds only its address.
        params.progress_callback = callback = llama.llama_progress_callback(report)
        libllama.complaints.clear()
        libllama.weights.clear()
        self.handle: Any = llama.llama_model_load_from_file(path.encode(), params)
        del callback, kept
        if not self.handle:
            raise LoadError("; ".join(libllama.complaints) or "the kernels gave no reason")
        self.vocabulary = Vocabulary(self.handle)
        self.watch: Watch | None = None
        """Hears of each layer of each step; set before a context is made."""
        self.beyond: Any = None
        """What brings in the weights that do not stay (`loading_beyond.Beyond`)."""
        self.weights = dict(libllama.weights)
        self._gpu_layers = gpu_layers
        self._feeds_on_cpu = bool(placement and placement.feeds_on_cpu)

    def close(self) -> None:
        """Free the memory."""
        if self.handle:
            llama.llama_model_free(self.handle)
            self.handle = None

    @property
    def layers(self) -> int:
        """Without the output."""
        return llama.llama_model_n_layer(self.handle)

    @property
    def shared_weights(self) -> int:
        """Bytes that lie in the file's own pages: processes with the same file share them."""
        return sum(size for kind, size in self.weights.items() if kind.endswith("Mapped"))

    @property
    def own_weights(self) -> int:
        """Bytes that this process or a device holds for itself."""
        return sum(self.weights.values()) - self.shared_weights

    @property
    def all_on_gpu(self) -> bool:
        """Whether every layer lies on a GPU: the processor only looks up the tokens' embeddings."""
        wanted = self._gpu_layers < 0 or self._gpu_layers > llama.llama_model_n_layer(self.handle)
        wanted = wanted and not self._feeds_on_cpu
        return wanted and any(not kind.startswith("CPU") for kind in self.weights)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's scalar facts, as text."""
        facts: dict[str, str] = {}
        for index in range(llama.llama_model_meta_count(self.handle)):
            key = self._text(llama.llama_model_meta_key_by_index, index, 256)
            facts[key] = self._text(llama.llama_model_meta_val_str_by_index, index, 4096)
        return facts

    def _text(self, read: Callable[..., int], index: int, room: int) -> str:
        buffer = ctypes.create_string_buffer(room)
        read(self.handle, index, buffer, room)
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja template."""
        source = llama.llama_model_chat_template(self.handle, None)
        return source.decode("utf-8", "replace") if source else None

    @property
    def context_train(self) -> int:
        """Tokens of context that the model was trained for."""
        return llama.llama_model_n_ctx_train(self.handle)

    @property
    def shares_prefixes(self) -> bool:
        """Whether any part of a sequence's KV cache may serve another one.

        Not with a sliding window (masked cells are overwritten) and not with a recurrent state
        (it is that of the whole sequence): there only a whole sequence can be continued.
        """
        return not (
            llama.llama_model_n_swa(self.handle) > 0
            or llama.llama_model_is_recurrent(self.handle)
            or llama.llama_model_is_hybrid(self.handle)
        )

    @property
    def has_state(self) -> bool:
        """Each sequence id costs memory of its own (recurrent and hybrid models)."""
        return bool(
            llama.llama_model_is_recurrent(self.handle) or llama.llama_model_is_hybrid(self.handle)
        )

    @property
    def generates(self) -> bool:
        """It can write text from left to right."""
        return bool(
            llama.llama_model_has_decoder(self.handle)
            and not llama.llama_model_has_encoder(self.handle)
            and not llama.llama_model_is_diffusion(self.handle)
        )

    @property
    def dimensions(self) -> int:
        """Length of an embedding."""
        return llama.llama_model_n_embd_out(self.handle)

    @property
    def scores(self) -> int:
        """Numbers that a reranking model gives for a pair of texts; the first is its relevance."""
        return llama.llama_model_n_cls_out(self.handle)

    @property
    def rerank_template(self) -> str | None:
        """How a reranking model wants its pair: a text with {query} and {document}."""
        source = llama.llama_model_chat_template(self.handle, b"rerank")
        return source.decode("utf-8", "replace") if source else None
