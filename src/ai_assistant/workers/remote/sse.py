"""Server-sent events, read as they arrive, however the bytes are cut."""

from ai_assistant.protocol.errors import MalformedAnswer

LIMIT = 16 << 20
"""Bytes of one event at most."""
_BOM = b"\xef\xbb\xbf"


class EventParser:
    """Bytes in, the data of whole events out.

    Lines end at LF, CR or CRLF. Comments and the fields `event`, `id` and `retry` are skipped: what
    providers send names its kind inside the data.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._line_size = 0
        self._data_size = 0
        self._after_cr = False
        self._begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that end in this piece; raises `MalformedAnswer` for an endless one."""
        if not self._begun:
            piece = self._without_mark(piece)
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in piece:
            self._keep(piece)
            return []
        if self._line:
            self._line.append(piece)
            piece = b"".join(self._line)
            self._line.clear()
        self._line_size = 0
        *lines, rest = piece.split(b"\n")
        events = self._ended(lines)
        self._keep(rest)
        return events

    def _ended(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
                self._data_size += len(line)
            elif not line and data:
                if event := data[0] if len(data) == 1 else b"\n".join(data):
                    events.append(event)
                data.clear()
                self._data_size = 0
            elif line == b"data":
                data.append(b"")
                self._data_size += len(line)
        return events

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
        if self._line_size + self._data_size > self._limit:
            raise MalformedAnswer(f"The server sent an event of more than {self._limit:,} bytes.")

    def _without_mark(self, piece: bytes) -> bytes:
        """The stream may begin with a byte order mark, which may come in parts."""
        head = b"".join(self._line) + piece
        self._line.clear()
        self._line_size = 0
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._keep(head)
            return b""
        self._begun = True
        return head.removeprefix(_BOM)
