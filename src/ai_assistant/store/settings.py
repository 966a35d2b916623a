"""What the owner may set about models and data on disk."""

import msgspec


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are."""

    models: tuple[str, ...] = ()
    """GGUF files to serve beside the bundled starter model; the first one becomes the default."""
    data_dir: str = ""
    """Conversations and history; empty: the system's place for user data."""
