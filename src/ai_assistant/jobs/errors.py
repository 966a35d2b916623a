"""What can go wrong with jobs, beside what the whole tree knows."""

from ai_assistant.protocol.errors import RequestError, Unavailable


class JobsUnavailable(Unavailable):
    """Jobs cannot be read or written now; answers still work."""

    code = "jobs_unavailable"


class JobsDiskFull(JobsUnavailable):
    """No room for a file, a batch or a result."""

    code = "disk_full"


class JobsElsewhere(JobsUnavailable):
    """Another process works on the jobs of this folder."""

    code = "jobs_elsewhere"


class FileInUse(RequestError):
    """A batch that is not finished reads the file."""

    code = "file_in_use"


class StorageFull(RequestError):
    """All files together are as large as the owner allows."""

    code = "storage_full"
