"""A form with a file in it, taken apart while it comes in."""

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ai_assistant.gateway.errors import invalid
from ai_assistant.protocol.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 8192
_MAX_NAME = 255


class UploadForm:
    """multipart/form-data. `feed` it the body; it gives back what belongs to the file."""

    def __init__(self, content_type: str | None) -> None:
        """Raises `InvalidRequest` for another kind of body."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("Send the file as multipart/form-data, in the field `file`.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """As the client calls the file; None until it has come."""
        self._headers: dict[bytes, bytes] = {}
        self._header = (b"", b"")
        self._name: str | None = None
        self._value = bytearray()
        self._file = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise InvalidRequest(f"The form is malformed: {error}.") from None

    def feed(self, data: bytes) -> bytes:
        """The file's bytes in `data`; raises `InvalidRequest`."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"The form is malformed: {error}.") from None
        found = bytes(self._file)
        self._file.clear()
        return found

    def end(self) -> None:
        """Nothing more comes; raises `InvalidRequest` unless the form and its file are whole."""
        if not self._ended:
            raise InvalidRequest("The form ends in the middle; send it again.")
        if self.filename is None:
            raise invalid("file", "this field is required")

    # What the parser finds.

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._grow_field,
            "on_header_value": self._grow_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._header = (b"", b"")

    def _grow_field(self, data: bytes, start: int, end: int) -> None:
        field, value = self._header
        self._header = (field + data[start:end], value)

    def _grow_value(self, data: bytes, start: int, end: int) -> None:
        field, value = self._header
        self._header = (field, value + data[start:end])

    def _end_header(self) -> None:
        field, value = self._header
        self._headers[field.lower()] = value
        self._header = (b"", b"")

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == "file":
            if self.filename is not None:
                raise invalid("file", "only one file in a request")
            self._name = None
            self.filename = safe_name(options.get(b"filename", b"").decode("utf-8", "replace"))
            return
        self._name = name[:_MAX_NAME]
        self._value.clear()
        if len(self.fields) >= _MAX_FIELDS:
            raise InvalidRequest(f"The form has more than {_MAX_FIELDS} fields.")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._file += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > _MAX_FIELD_BYTES:
            raise invalid(self._name, "this value is too long")

    def _close(self) -> None:
        if self._name is not None:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def safe_name(given: str) -> str:
    """The last part of a file's name, without what could move a cursor or name another place."""
    last = given.replace("\\", "/").rpartition("/")[2]
    shown = "".join(char for char in last if char.isprintable()).strip().lstrip(".")
    return shown[:_MAX_NAME] or "upload"
