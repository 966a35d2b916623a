"""What the owner may set about which models are loaded."""

import msgspec


class SchedulerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Residency of models."""

    max_loaded: int = 4
    """Models in memory at once."""
    memory_fraction: float = 0.8
    """Share of the machine's memory that loaded models may take."""
    max_restarts: int = 5
    """Engine deaths within a minute after which a model is given up."""
