"""Tells at which layer a step is, through the kernels' own callback.

The kernels ask before each node whether somebody wants to see its result, and stop where somebody
does. We say yes at the last node of each layer, so a step stops once a layer; with all the
questions that costs some milliseconds a step. Only weights that come from disk are worth that.
"""

import re
from collections.abc import Callable
from typing import Any

from ai_assistant.engine.kernels.ggml import ggml
from ai_assistant.engine.kernels.libllama import llama

_LAYER = re.compile(rb"^[A-Za-z][A-Za-z0-9_]*-(\d+)$")
_OUTPUT = b"result_"
"""How the names of the nodes behind all layers begin."""


class Watch:
    """`on_layer` hears a layer's number before it is computed and may let the kernels wait;
    `on_done` hears it when it is computed. The output counts as the layer behind the last.

    Names differ between architectures, so the first graph is only looked at: it shows which node
    is a layer's last.
    """

    def __init__(
        self, layers: int, on_layer: Callable[[int], None], on_done: Callable[[int], None]
    ) -> None:
        self._layers = layers
        self._on_layer = on_layer
        self._on_done = on_done
        self._at = -1
        self._last: dict[int, bytes] = {}
        self._ends: dict[bytes, int] = {}
        self._numbers: dict[bytes, int | None] = {}
        self.callback = llama.ggml_backend_sched_eval_callback(self._look)

    def _look(self, tensor: Any, ask: bool, _data: object) -> bool:
        name: bytes = ggml.ggml_get_name(tensor)
        if not ask:
            self._on_done(self._ends[name])
            return True
        layer = self._layer_of(name)
        if layer is None:
            return False
        if self._ends:
            if layer != self._at:
                self._at = layer
                self._on_layer(layer)
            return name in self._ends
        self._learn(layer, name)
        return False

    def _learn(self, layer: int, name: bytes) -> None:
        self._last[layer] = name

    def begin(self) -> None:
        """Before a step: from the second one on layers are told."""
        self._at = -1
        if not self._ends and self._layers in self._last:
            self._ends = {name: layer for layer, name in self._last.items()}

    def _layer_of(self, name: bytes) -> int | None:
        if name not in self._numbers:
            found = _LAYER.match(name)
            number = int(found[1]) if found else None
            if name.startswith(_OUTPUT):
                number = self._layers
            self._numbers[name] = number if number is None or number <= self._layers else None
        return self._numbers[name]
