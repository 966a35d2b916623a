"""How long to wait for a server: three different questions."""

import msgspec


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds. Signs of life without a token, such as comments or empty pieces, do not count."""

    connect: float = 5.0
    """To find the name, connect and agree on encryption."""
    first_token: float = 60.0
    """From the request to the first token; a server that loads a model takes long."""
    between_tokens: float = 20.0
    """From one token to the next."""
