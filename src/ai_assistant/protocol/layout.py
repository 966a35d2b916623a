"""What a model consists of, and what a trial of some of its layers found."""

import msgspec


class LayerPart(msgspec.Struct, frozen=True, kw_only=True):
    """Tensors that go together."""

    bytes: int
    experts: int = 0
    """Of these: experts of a mixture, of which each token needs a few."""
    feeds: int = 0
    """Of these: what may stay in main memory while the layer is on a GPU: its feed-forward
    weights; of a mixture its experts."""
    values: int = 0
    types: dict[str, int] = {}
    """Bytes by tensor type."""


class ModelAnatomy(msgspec.Struct, frozen=True, kw_only=True):
    """A model's parts with their sizes."""

    architecture: str
    width: int
    """Of the residual stream, in values."""
    heads: int
    experts: int = 0
    experts_used: int = 0
    layers: tuple[LayerPart, ...]
    embedding: LayerPart
    output: LayerPart
    """All outside the layers but the embedding: norms, and the output matrix unless tied."""
    tied: bool = False
    """The embedding is the output matrix too: whoever has the output has a copy."""
    kv_bytes_per_token_layer: int = 0
    """With a 16-bit cache."""
    context: int = 0
    """Tokens that it was trained for; 0: the file does not say."""
    feed: int = 0
    """Values within a layer's feed-forward part, for one token."""
    vocabulary: int = 0

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return sum(part.bytes for part in (*self.layers, self.embedding, self.output))

    @property
    def token_bytes(self) -> int:
        """Bytes of them that a token needs: of a mixture's experts a few, of an embedding that is
        not the output too next to nothing."""
        layers = sum(map(self.token_bytes_of, self.layers))
        return layers + self.output.bytes + (self.embedding.bytes if self.tied else 0)

    def token_bytes_of(self, layer: LayerPart) -> int:
        """Bytes that a token needs of one layer."""
        share = self.experts_used / self.experts if self.experts else 1.0
        return layer.bytes - int(layer.experts * (1 - share))


class Case(msgspec.Struct, frozen=True):
    """A step to be timed."""

    tokens: int
    depth: int = 0
    """Tokens that the sequence has before it, or each of the streams."""
    streams: int = 1
    """Sequences that the tokens belong to, as many to each."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """An order: load this file in this way and time these steps."""

    path: str
    cases: tuple[Case, ...]
    gpu_layers: int = 0
    threads: int = 1
    kv_type: str = "f16"
    chunk: int = 512
    """The largest step that the kernels compute in one piece."""
    share_weights: bool = False
    feeds_on_cpu: int = 0
    on_cpu: tuple[str, ...] = ()
    """Patterns of tensors that stay in main memory."""
    tensor_split: tuple[float, ...] = ()
    kv_on_gpu: bool = True
    op_offload: bool = True
    host_buffers: bool = True
    load_mode: str = "auto"
    tokens: int = 1
    """How many different tokens it is fed with: those with the smallest numbers, in turns."""
    nice: int = 0
    """How far it steps back behind other programs."""
    seconds: float = 1.0
    """What the repetitions of one case may take together, beyond the first."""
    passes: int = 2
    """Over all cases of a depth: what disturbs one pass is over in the next."""
    cold_bytes: int = 0
    """Of other memory, which is read before each small step: no weights lie in a cache then."""


class Timed(msgspec.Struct, frozen=True):
    """A step and its time in peace, in seconds."""

    case: Case
    seconds: float


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial found."""

    times: tuple[Timed, ...] = ()
    load_seconds: float = 0.0
    memory: dict[str, int] = {}
    """Bytes by what they are for and where they are, as the kernels' log says:
    `weights/CPU_Mapped`, `kv/CUDA0`, `compute/CUDA0`, `output/CPU`. `taken/CUDA0` is what the
    device itself says that is missing afterwards, of all uses together."""
    error: str | None = None
