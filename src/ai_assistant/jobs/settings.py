"""What the owner may set about jobs."""

import msgspec


class JobsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When batches are worked on, how many lines at once, and where it is all kept."""

    window: str = ""
    """Hours of local time in which batches are worked on, such as 22:00-06:00; empty: always."""
    spill: bool = False
    """A batch that is late may go to a cloud, as far as policy.toml lets it."""
    concurrency: int = 0
    """Lines at once for each model; 0: as many as its engine has slots, and a few that wait."""
    database: str = ""
    """postgresql://... for several nodes with one queue; empty: a file in the data folder."""
    dir: str = ""
    """Folder of the files; empty: in the data folder. Nodes with one database share it."""
    max_file_mb: int = 512
    """Of one file."""
    disk_gb: float = 20.0
    """Of all files together."""
    keep_days: float = 30.0
    """Files of batches are deleted after so long; 0 keeps them."""
