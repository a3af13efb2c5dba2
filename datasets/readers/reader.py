"""`DatasetReader`: the contract between a dataset's published layout and the rest of the package."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from pathlib import Path
from typing import Protocol, cast

from avloc.core.records import VideoRecord
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError, one_line

MEMBERS = ("splits", "validation", "records", "public_name")
METHODS = ("records", "public_name")


class DatasetReader(Protocol):
    """A dataset's published layout as records.

    Any class with these four members is a reader, with or without this base. `--dataset my_package.MyDataset` reads with
    it, and so does a name of the entry-point group `avloc.datasets`. A class is built without arguments.

    Attributes:
        splits: names of the splits; empty if the metadata name them.
        validation: the split that training validates on; empty if the set has none, and a user must name one.

    A reader of a set without pictures may also have `modalities = ("audio",)`; a check then misses no video.

    >>> from avloc.datasets.readers.table import TableBuilder
    >>> class OneClip:
    ...     splits = ("train", "val")
    ...     validation = "val"
    ...
    ...     def records(self, root, split=None):
    ...         builder = TableBuilder()
    ...         builder.add("clip.mp4", split or "train", audio=[(1.0, 1.5)])
    ...         return builder.build()
    ...
    ...     def public_name(self, record):
    ...         return record.file
    >>> check_reader(OneClip()).records(Path("clips"), "val")[0].modality
    'audio'
    """

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def validation(self) -> str: ...

    @abstractmethod
    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read the records of a split, or of all splits.

        Args:
            root: the dataset's folder, which exists.
            split: a split's name; None reads all splits.

        Returns:
            Records with files relative to `root`. `TableBuilder` collects them.

        Raises:
            AvlocError: if the split is unknown, a metadata file is missing, or an entry is malformed.
        """
        ...

    @abstractmethod
    def public_name(self, record: VideoRecord) -> str:
        """Return the clip's name in the dataset's own metadata and in prediction files."""
        ...


def check_reader(reader: object, name: str | None = None) -> DatasetReader:
    """Return the reader if it fulfils the contract.

    Args:
        reader: an instance, not a class.
        name: the reader's name in error messages; its class by default.

    Raises:
        AvlocError: if a member is missing or of another kind; names the member.
    """
    name = name or type(reader).__qualname__
    missing = [member for member in MEMBERS if not hasattr(reader, member)]
    if missing:
        raise _missing_members(name, missing)
    for method in METHODS:
        if not callable(getattr(reader, method)):
            raise AvlocError(f"{name}: a dataset reader's {method} must be a method, got {getattr(reader, method)!r}")
    checked = cast(DatasetReader, reader)
    if not isinstance(checked.splits, tuple | list) or not all(isinstance(s, str) for s in checked.splits):
        raise AvlocError(f"{name}: a dataset reader's splits must be a tuple of names, got {checked.splits!r}")
    if not isinstance(checked.validation, str):
        raise AvlocError(f"{name}: a dataset reader's validation must be a split's name, got {checked.validation!r}")
    return checked


def build_reader(reader: object, name: str) -> DatasetReader:
    """Return a checked reader from an instance, or from a class that needs no arguments.

    Raises:
        AvlocError: if a class cannot be built, or the contract is not fulfilled.
    """
    if not isinstance(reader, type):
        return check_reader(reader, name)
    if inspect.isabstract(reader):
        raise _missing_members(name, [m for m in MEMBERS if getattr(getattr(reader, m), "__isabstractmethod__", False)])
    try:
        instance = reader()
    except Exception as error:  # the class is the user's code, which may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise AvlocError(f"{name}: cannot be built without arguments ({reason}); name an instance instead") from error
    return check_reader(instance, name)


def _missing_members(name: str, members: list[str]) -> AvlocError:
    return AvlocError(
        f"{name}: is no dataset reader, it lacks {', '.join(members)} "
        "(want splits, validation, records(root, split), public_name(record))"
    )
