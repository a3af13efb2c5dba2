"""The contract between engines and the work that they distribute: settings, and specs of units such as shards."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self


class UnitSettings(Protocol):
    """The settings of a job, common to all its units; picklable."""

    @property
    def workers(self) -> int:
        """Worker processes of each process that makes units."""

    def with_resources(self, workers: int, device: str | None = None) -> Self:
        """The same settings with this number of workers, and on this device; None: the same device."""

    def absolute(self) -> Self:
        """The same settings with absolute paths, independent of the job's working directory."""


class UnitSpec(Protocol):
    """A unit of work; picklable."""

    def absolute(self) -> Self:
        """The same unit with absolute paths."""


def absolute_path(value: object) -> object:
    """Make the path of an existing file absolute; anything else, such as the name of a hub's model, stays as it is."""
    return str(Path(value).absolute()) if isinstance(value, str | Path) and Path(value).exists() else value
