"""A model and devices by figures, for tests of plans."""

from ai_assistant.devices.layout.costs import Attention, Costs, Curve
from ai_assistant.devices.layout.predict import Bench
from ai_assistant.protocol.layout import LayerPart, ModelAnatomy

GIGABYTE = 10**9


def anatomy(layers: int = 32, size: int = 120_000_000, *, experts: int = 0) -> ModelAnatomy:
    """A model of 4 GB whose layers are three quarters feed-forward weights."""
    feeds = size * 3 // 4
    part = LayerPart(bytes=size, feeds=feeds, experts=feeds if experts else 0, values=2 * size)
    return ModelAnatomy(
        architecture="llama",
        width=4096,
        heads=32,
        experts=experts,
        experts_used=2 if experts else 0,
        layers=(part,) * layers,
        embedding=LayerPart(bytes=80_000_000, values=160_000_000),
        output=LayerPart(bytes=100_000_000, values=200_000_000),
        kv_bytes_per_token_layer=4096,
        context=32_768,
        feed=14_336,
        vocabulary=32_000,
    )


def device(layer: float, outside: float, *, compute: int = 0, attention: float = 1e-9) -> Costs:
    """A device whose time grows by a tenth of a token's for each further one."""
    tokens = (1, 512, 2048)

    def line(one: float) -> Curve:
        return Curve(tokens, tuple(one * (0.9 + 0.1 * count) for count in tokens))

    slope = Curve((0, 1000), (0.0, 1000 * attention))
    looking = Attention(single=slope, few=slope, many=slope)
    return Costs(layer=line(layer), outside=line(outside), attention=looking, compute_bytes=compute)


CPU = device(2e-3, 1e-3)
GPU = device(1e-4, 1e-4, compute=300_000_000)
MIXED = device(0.8e-3, 1e-4, compute=300_000_000)
CROSSING = Curve((1, 512), (2e-4, 1e-3))
ALONE = Bench(cpu={8: CPU})
BOTH = Bench(cpu={8: CPU}, gpus=(GPU,), crossing=CROSSING)
MIXTURE = Bench(cpu={8: CPU}, gpus=(GPU,), mixed=MIXED, crossing=CROSSING)
TWO = Bench(cpu={8: CPU}, gpus=(GPU, device(3e-4, 1e-4)), crossing=CROSSING)
