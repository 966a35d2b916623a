"""The part of an address behind the question mark."""

from urllib.parse import parse_qsl

from ai_assistant.gateway.errors import invalid
from ai_assistant.gateway.exchange import Exchange


class Query:
    """The values of one request's address; of a name that stands twice the last one counts."""

    def __init__(self, exchange: Exchange) -> None:
        raw: bytes = exchange.scope.get("query_string", b"")
        self._values = dict(parse_qsl(raw.decode("latin-1")))

    def text(self, name: str) -> str | None:
        """That value, if it is there and not empty."""
        return self._values.get(name)

    def number(self, name: str, usual: int, low: int, high: int) -> int:
        """A whole number in that range; raises `InvalidRequest`."""
        text = self._values.get(name)
        if text is None:
            return usual
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise invalid(name, "expected a whole number")
        if not low <= int(text) <= high:
            raise invalid(name, f"expected {low} to {high}")
        return int(text)
