"""Any other set, and a user's own clips: a folder, with or without labels in a CSV or json file > records.

`folder`: all clips under the root. Labels are optional, in `labels.csv` or `labels.json`: one row per segment. With such
a file every clip counts as labelled, and a clip without a row as real; without one the labels are hidden.

`csv`, `json`: `metadata.csv` or `metadata.json` names the clips themselves: one row per segment, or one row with empty
times for a real clip. Enough for sets of one modality (ForgeryNet's video, PartialSpoof's audio).

Fields: `file`, `start`, `end` (seconds), and optionally `modality` (`audio`, `visual`, `both`; both by default), `split`,
`duration`; all others become attributes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from avloc.core.records import MODALITIES, VideoRecord, split_names
from avloc.core.suggestions import did_you_mean
from avloc.datasets.readers.entries import Entry, for_each_entry, relative_path
from avloc.datasets.readers.table import RecordTable, TableBuilder
from avloc.errors import AvlocError

VIDEO_SUFFIXES = (
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .vob .wmv .flv .ts .mts .m2ts .mxf .3gp .ogv .gif .h264 .hevc"
)
AUDIO_SUFFIXES = ".wav .flac .mp3 .m4a .ogg .opus .aac .amr .caf"
SUFFIXES = frozenset(f"{VIDEO_SUFFIXES} {AUDIO_SUFFIXES}".split())
LABEL_NAMES = ("labels.csv", "labels.json")
FIELDS = ("file", "start", "end", "modality", "split", "duration")
MODALITIES_BY_NAME = {
    "audio": ("audio",),
    "visual": ("visual",),
    "video": ("visual",),
    "both": MODALITIES,
    "": MODALITIES,
}
NO_SPLIT = "all"
SPLITS_OF_ALL = ("train", "val", "test", NO_SPLIT)  # that a set without splits is at the same time


class MediaFolder:
    """The reader `folder`: all clips under a folder, labelled by `labels.csv` or `labels.json` if one exists.

    Attributes:
        splits: empty, the labels may name any.
        validation: `val`. A set without splits is its own training, validation and test set.
    """

    splits: ClassVar[tuple[str, ...]] = ()
    validation: ClassVar[str] = "val"

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all clips.

        Raises:
            AvlocError: if the labels name a clip that is missing, have no such split, have splits for some of the clips only, or
                are malformed.
        """
        labels = next((root / name for name in LABEL_NAMES if (root / name).is_file()), None)
        clips = {} if labels is None else _read_clips(labels)
        files = sorted(media_files(root))
        missing = clips.keys() - set(files)
        if labels is not None and missing:
            raise AvlocError(
                f"{labels}: names {len(missing)} clips that are not in {root}, the first is {min(missing)}"
            )
        every_clip = {file: clips.get(file, _ClipLabels(NO_SPLIT)) for file in files}
        return _build_table(every_clip, split, labels or root, labelled=labels is not None)

    def public_name(self, record: VideoRecord) -> str:
        """Return the file."""
        return record.file


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """The readers `csv` and `json`: the clips that a metadata file names, one row per segment.

    Args:
        name: `metadata.csv`, or `metadata.json` with a list of objects.

    Attributes:
        splits: empty, the rows may name any.
        validation: `val`. A set without splits is its own training, validation and test set.
    """

    splits: ClassVar[tuple[str, ...]] = ()
    validation: ClassVar[str] = "val"

    name: str

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all clips.

        Raises:
            AvlocError: if the file is missing, has no such split or splits for some of the clips only, or a row is malformed.
        """
        return _build_table(_read_clips(root / self.name), split, root / self.name, labelled=True)

    def public_name(self, record: VideoRecord) -> str:
        """Return the file."""
        return record.file


@dataclass(slots=True)
class _ClipLabels:
    """The rows of one clip, merged."""

    split: str
    duration_s: float | None = None
    segments: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {m: [] for m in MODALITIES})
    attributes: dict[str, str] = field(default_factory=dict)


def media_files(root: Path) -> Iterator[str]:
    """Iterate over the names of all clips under a folder, relative to it; hidden files and folders are left out."""
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(parent, name).relative_to(root).as_posix()


def _build_table(clips: Mapping[str, _ClipLabels], split: str | None, source: Path, *, labelled: bool) -> RecordTable:
    """Build the table of a split; `source` is the metadata file, or the folder without one."""
    splits = list(dict.fromkeys(clip.split for clip in clips.values()))
    if split is not None and split not in splits:
        split = next((name for name in split_names(split) if name in splits), split)
    if split is not None:
        _check_split_of_each(clips, source)
        if split not in splits:
            _check_split(split, splits, source)
    builder = TableBuilder()
    for file, clip in clips.items():
        if split is None or clip.split in (split, NO_SPLIT):
            builder.add(
                file,
                clip.split,
                duration_s=clip.duration_s,
                audio=sorted(set(clip.segments["audio"])),
                visual=sorted(set(clip.segments["visual"])),
                labelled=labelled,
                attributes=clip.attributes,
            )
    return builder.build()


def _check_split_of_each(clips: Mapping[str, _ClipLabels], source: Path) -> None:
    """Raise if some clips have a split and others have none: these would be training, validation and test clips at once."""
    without = [file for file, clip in clips.items() if clip.split == NO_SPLIT]
    if 0 < len(without) < len(clips):
        raise AvlocError(
            f"{source}: {len(without)} of {len(clips)} clips have no split, the first is {without[0]}; a set with splits needs "
            "one for each clip: give it a row with its split, with empty start and end if it is real"
        )


def _check_split(split: str, splits: list[str], source: Path) -> None:
    """Raise unless the clips have no splits: such a set is its own training, validation and test set."""
    if splits in ([NO_SPLIT], []):
        if split not in SPLITS_OF_ALL:
            raise AvlocError(
                f"{source}: the clips have no splits, got {split!r}; leave the split out, or name one of "
                f"{', '.join(SPLITS_OF_ALL)}, which all mean every clip"
            )
        return
    raise AvlocError(
        f"{source}: has the splits {', '.join(splits)}, got {split!r}{did_you_mean(split, splits)}; ask for one of these, "
        f"or write {split!r} into the file's column split"
    )


def _read_clips(path: Path) -> dict[str, _ClipLabels]:
    clips: dict[str, _ClipLabels] = {}
    if path.suffix == ".csv":
        for number, row in enumerate(_csv_rows(path)):
            _add_row(clips, _Row(row, path, number, f"row {number + 2}"))  # a CSV's first line is its header
    else:
        for_each_entry(path, lambda number, entry: _add_row(clips, _Row(entry, path, number, f"entry {number}")))
    return clips


def _csv_rows(path: Path) -> Iterator[Entry]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = [name for name in ("file", "start", "end") if name not in (rows.fieldnames or [])]
            if missing:
                columns = ", ".join(rows.fieldnames or []) or "none"
                cure = "a real clip has a row with empty start and end"
                if any(separator in columns for separator in (";", "\t")):
                    cure = "separate the columns by commas"
                raise AvlocError(
                    f"{path}: want a CSV with the columns file, start, end, got {columns}; {', '.join(missing)} is missing "
                    f"({cure})"
                )
            yield from rows
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such metadata file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise AvlocError(f"{path}: not a CSV file in UTF-8 ({error})") from error


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a CSV or entry of a json file, with its place for error messages."""

    fields: Entry
    path: Path
    number: int
    place: str

    def error(self, message: str) -> AvlocError:
        return AvlocError(f"{self.path}: {self.place}: {message}")

    def string(self, name: str) -> str:
        """Return an optional field without blanks around it, "" if it is missing."""
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(f"{name} must be a string, got {value!r}")
        return value.strip()

    def file(self) -> str:
        """Return the clip's name."""
        value = self.fields.get("file")
        if not isinstance(value, str):
            raise self.error(f"file must be a string, got {value!r}")
        return relative_path(value, self.path, self.number)

    def seconds(self, name: str) -> float | None:
        """Return a finite number, None if the field is missing or empty."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        except (ValueError, OverflowError):
            number = None
        if number is None or not abs(number) < float("inf"):
            raise self.error(f"{name} must be a number of seconds, got {value!r}")
        return number

    def segment(self) -> tuple[float, float] | None:
        """Return the fake segment, None for a real clip."""
        start, end = self.seconds("start"), self.seconds("end")
        if start is None and end is None:
            return None
        if start is None or end is None or not 0 <= start <= end:
            raise self.error(f"want 0 ≤ start ≤ end, or neither for a real clip, got {start} and {end}")
        return start, end

    def modalities(self) -> tuple[str, ...]:
        """Return the modalities of the segment."""
        name = self.string("modality").lower()
        if name not in MODALITIES_BY_NAME:
            raise self.error(f"the modality must be audio, visual or both, got {name!r}")
        return MODALITIES_BY_NAME[name]

    def attributes(self) -> dict[str, str]:
        """Return all other fields that hold a string or a number."""
        return {
            name: str(value)
            for name, value in self.fields.items()
            if name not in FIELDS and isinstance(value, str | int | float) and value != ""
        }


def _add_row(clips: dict[str, _ClipLabels], row: _Row) -> None:
    file, split = row.file(), row.string("split") or NO_SPLIT
    clip = clips.setdefault(file, _ClipLabels(split))
    if NO_SPLIT not in (split, clip.split) and split != clip.split:
        raise row.error(
            f"{file} has the split {split!r}, and {clip.split!r} in an earlier row; give all its rows one split"
        )
    clip.split = split if clip.split == NO_SPLIT else clip.split
    duration = row.seconds("duration")
    clip.duration_s = clip.duration_s if duration is None else duration
    modalities, segment = row.modalities(), row.segment()
    if segment is not None:
        for modality in modalities:
            clip.segments[modality].append(segment)
    clip.attributes |= row.attributes()
