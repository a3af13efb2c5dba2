"""Any other set, and a user's own clips: a folder, with or without labels in a CSV or json file > records.

`folder`: all clips under the root; labels, if any, in `labels.csv` or `labels.json`: one row per segment. With such a file every
clip counts as labelled, and those it does not name as real; without one the labels are hidden.

`csv`, `json`: `metadata.csv` or `metadata.json` names the clips themselves, one row per segment, or one with empty
times for a real clip. Enough for sets of one modality (ForgeryNet's picture, PartialSpoof's sound).

Fields: `file`, `start`, `end` (seconds), and optionally `modality` (`audio`, `visual`, `both`; both by default), `split`,
`duration`; all others become attributes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avloc.core.records import MODALITIES
from avloc.datasets.readers.entries import iter_entries, relative_path
from avloc.datasets.readers.table import RecordTable, TableBuilder
from avloc.errors import AvlocError

VIDEO = ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ts .3gp .ogv"
AUDIO = ".wav .flac .mp3 .m4a .ogg .opus .aac"
SUFFIXES = frozenset(f"{VIDEO} {AUDIO}".split())
KNOWN = ("file", "start", "end", "modality", "split", "duration")
MODALITIES_OF = {"audio": ("audio",), "visual": ("visual",), "video": ("visual",), "both": MODALITIES, "": MODALITIES}
NO_SPLIT = "all"


@dataclass(slots=True)
class _Clip:
    """What the rows say of a clip."""

    split: str
    duration_s: float | None = None
    segments: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {m: [] for m in MODALITIES})
    attributes: dict[str, str] = field(default_factory=dict)


def read_folder(root: Path, split: str | None = None) -> RecordTable:
    """All clips under a folder, labelled by `labels.csv` or `labels.json` if there is one."""
    labels = next((root / name for name in ("labels.csv", "labels.json") if (root / name).is_file()), None)
    clips = {} if labels is None else _clips(labels)
    files = sorted(_media(root))
    unknown = clips.keys() - set(files)
    if labels is not None and unknown:
        raise AvlocError(f"{labels}: names {len(unknown)} clips that are not in {root}, the first is {min(unknown)}")
    return _table({file: clips.get(file, _Clip(NO_SPLIT)) for file in files}, split, root, labelled=labels is not None)


def read_csv(root: Path, split: str | None = None) -> RecordTable:
    """The clips that `metadata.csv` names."""
    return _table(_clips(root / "metadata.csv"), split, root, labelled=True)


def read_json(root: Path, split: str | None = None) -> RecordTable:
    """The clips that `metadata.json` names: a list of objects with the same fields."""
    return _table(_clips(root / "metadata.json"), split, root, labelled=True)


def _media(root: Path) -> Iterator[str]:
    for where, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(where, name).relative_to(root).as_posix()


def _table(clips: Mapping[str, _Clip], split: str | None, root: Path, *, labelled: bool) -> RecordTable:
    splits = list(dict.fromkeys(clip.split for clip in clips.values()))
    # A set without splits is its own training, validation and test set, as a user's folder is.
    if split is not None and split not in splits and splits not in ([NO_SPLIT], []):
        raise AvlocError(f"{root}: has the splits {', '.join(splits)}, got {split!r}")
    builder = TableBuilder()
    for file, clip in clips.items():
        if split is None or clip.split in (split, NO_SPLIT):
            builder.add(
                file, clip.split, duration_s=clip.duration_s, audio=sorted(set(clip.segments["audio"])),
                visual=sorted(set(clip.segments["visual"])), labelled=labelled, attributes=clip.attributes,
            )  # fmt: skip
    return builder.build()


def _clips(path: Path) -> dict[str, _Clip]:
    clips: dict[str, _Clip] = {}

    def take(number: int, row: Mapping[str, Any]) -> None:
        place = f"row {number + 2}" if path.suffix == ".csv" else f"entry {number}"  # a CSV's first line is its header
        file = relative_path(_text(row, "file", path, place), path, number)
        clip = clips.setdefault(file, _Clip(_text(row, "split", path, place) or NO_SPLIT))
        duration = _number(row, "duration", path, place)
        clip.duration_s = clip.duration_s if duration is None else duration
        modality = _text(row, "modality", path, place).lower()
        if modality not in MODALITIES_OF:
            raise AvlocError(f"{path}: {place}: the modality must be audio, visual or both, got {modality!r}")
        start, end = (_number(row, name, path, place) for name in ("start", "end"))
        if (start is None) != (end is None) or (start is not None and end is not None and not 0 <= start <= end):
            raise AvlocError(
                f"{path}: {place}: want 0 ≤ start ≤ end, or neither for a real clip, got {start} and {end}"
            )
        if start is not None and end is not None:
            for name in MODALITIES_OF[modality]:
                clip.segments[name].append((start, end))
        clip.attributes |= {
            k: str(v) for k, v in row.items() if k not in KNOWN and isinstance(v, str | int | float) and v != ""
        }

    if path.suffix == ".csv":
        for number, row in enumerate(_csv_rows(path)):
            take(number, row)
    else:
        iter_entries(path, take)
    return clips


def _csv_rows(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if "file" not in (rows.fieldnames or []):
                raise AvlocError(
                    f"{path}: want a CSV with the columns file, start, end, got {', '.join(rows.fieldnames or [])}"
                )
            yield from rows
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such metadata file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise AvlocError(f"{path}: not a CSV file in UTF-8 ({error})") from error


def _text(row: Mapping[str, Any], name: str, path: Path, place: str) -> str:
    value = row.get(name)
    if value is None and name != "file":
        return ""
    if not isinstance(value, str):
        raise AvlocError(f"{path}: {place}: {name} must be a text, got {value!r}")
    return value.strip() if name != "file" else value


def _number(row: Mapping[str, Any], name: str, path: Path, place: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not abs(number) < float("inf"):
        raise AvlocError(f"{path}: {place}: {name} must be a number of seconds, got {value!r}")
    return number
