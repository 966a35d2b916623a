"""Standard streams that do not fail on a character."""

import io
from typing import TextIO


def lenient(stream: TextIO) -> TextIO:
    """The stream; what cannot be read or shown becomes a replacement character."""
    wrapper = stream
    if isinstance(wrapper, io.TextIOWrapper):
        wrapper.reconfigure(errors="replace")
    return stream
