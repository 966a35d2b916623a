"""What the owner may set about power and heat."""

import msgspec


class PowerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults leave the machine as it is."""

    mode: str = "max"
    """`max`, `balanced`, `quiet`, or watts such as `45 W`."""
    ceiling: float = 0
    """Degrees above which work slows down; 0: 85 when balanced, 70 when quiet, else none."""
    change_system: bool = False
    """Also set governor, RAPL and NVIDIA's limits while the node runs; needs root."""
