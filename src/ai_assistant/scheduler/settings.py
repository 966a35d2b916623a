"""What the owner may set about which models are loaded."""

import msgspec


class SchedulerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Residency of models."""

    max_loaded: int = 4
    """Models in memory at once."""
    memory_fraction: float = 0.8
    """Share of the machine's memory that loaded models may take."""
    abandon_load_seconds: float = 30.0
    """A load that nobody waits for any more goes on for so long; 0: to its end."""
    prefetch: bool = True
    """Read the model that will probably be wanted next while nobody asks anything and memory is
    free."""
    max_restarts: int = 5
    """Engine deaths within a minute after which a model is given up."""
