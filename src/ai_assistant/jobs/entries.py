"""What the lists of files are made of."""

import msgspec


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the list knows it. Times are whole seconds since 1970."""

    id: str
    tenant: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int | None = None
    labels: str = ""
    """With commas: they stick to the batches that are made of it."""

    @property
    def labelled(self) -> tuple[str, ...]:
        """Each of them."""
        return tuple(filter(None, self.labels.split(",")))


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted."""

    limit: int
    after: str | None = None
    """Begin behind the object with this id."""
    descending: bool = True
