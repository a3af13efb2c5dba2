"""Limits of the web page."""

from __future__ import annotations

from dataclasses import dataclass

from avloc.errors import AvlocError

MEGABYTE = 1_000_000


class UploadRefusedError(AvlocError):
    """A refused upload.

    Attributes:
        status: the HTTP status of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Limits of the web page.

    Attributes:
        max_megabytes: largest size of a clip.
        total_megabytes: largest size of all clips and timelines that the server keeps, unfinished uploads included.
        max_clips: largest number of clips that the server keeps, in any state but failed; and of the messages of failed ones.
        max_duration_s: longest duration of a clip, in seconds.
        concurrency: clips that are localized at the same time, each in its own process.
        queue_size: clips that may wait.
        keep_s: seconds until a timeline and its clip are removed.
        time_limit_s: longest time that a clip's localization may take, in seconds.
        memory_bytes: largest memory of a process that localizes a clip.

    >>> UploadLimits(max_duration_s=60).max_minutes
    1.0
    """

    max_megabytes: int = 200
    total_megabytes: int = 4000
    max_clips: int = 500
    max_duration_s: float = 1800.0
    concurrency: int = 1
    queue_size: int = 20
    keep_s: float = 1800.0
    time_limit_s: float = 1800.0
    memory_bytes: int = 8 << 30

    @property
    def max_bytes(self) -> int:
        """The largest size of a clip, in bytes."""
        return self.max_megabytes * MEGABYTE

    @property
    def total_bytes(self) -> int:
        """The largest size of everything that the server keeps, in bytes."""
        return self.total_megabytes * MEGABYTE

    @property
    def max_minutes(self) -> float:
        """The longest duration of a clip, in minutes."""
        return self.max_duration_s / 60

    def check_size(self, size_bytes: int, name: str) -> None:
        """Check the size of a clip; `name` is the visitor's name for it.

        Raises:
            UploadRefusedError: if the clip is too large.
        """
        if size_bytes > self.max_bytes:
            raise UploadRefusedError(413, f"{name}: is larger than {self.max_megabytes} MB")

    def check_duration(self, duration_s: float, name: str) -> None:
        """Check the duration of a clip; `name` is the visitor's name for it.

        Raises:
            AvlocError: if the clip is too long.
        """
        if duration_s > self.max_duration_s:
            raise AvlocError(f"{name}: lasts {duration_s / 60:.1f} minutes, the limit is {self.max_minutes:g} minutes")
