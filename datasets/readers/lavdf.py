"""LAV-DF: `metadata.json` (or `metadata.min.json`) > records, and back.

Cai et al., "Do you really mean that? Content driven audio-visual deepfake dataset and multimodal method for temporal
forgery localization", DICTA 2022. One list of fake periods; `modify_audio` and `modify_video` name their modalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from avloc.core.records import VideoRecord
from avloc.datasets.readers.entries import (
    Entry,
    attribute_fields,
    bool_field,
    duration_field,
    for_each_entry,
    relative_path,
    segments_field,
    string_field,
)
from avloc.datasets.readers.index import cached_table
from avloc.datasets.readers.table import RecordTable, TableBuilder
from avloc.errors import AvlocError
from avloc.io.files import write_json

METADATA_NAMES = ("metadata.json", "metadata.min.json")
SPLITS = ("train", "dev", "test")
ATTRIBUTES = ("original", "video_frames", "audio_frames")


class LAVDF:
    """The reader of LAV-DF.

    Attributes:
        splits: `train`, `dev`, `test`.
        validation: `dev`.

    >>> LAVDF().public_name(VideoRecord("test/000001.mp4", "test"))
    'test/000001.mp4'
    """

    splits: ClassVar[tuple[str, ...]] = SPLITS
    validation: ClassVar[str] = "dev"

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all of them.

        Raises:
            AvlocError: if the split is unknown, no metadata file exists, or an entry is malformed.
        """
        if split is not None and split not in self.splits:
            raise AvlocError(f"LAV-DF has the splits {', '.join(self.splits)}, got {split!r}")
        path = next((root / name for name in METADATA_NAMES if (root / name).is_file()), None)
        if path is None:
            raise AvlocError(f"{root}: no LAV-DF metadata here, want {' or '.join(METADATA_NAMES)}")
        table = cached_table([path], "lavdf", lambda: _read_metadata(path))
        return table if split is None else table.take(table.split.isin(split))

    def public_name(self, record: VideoRecord) -> str:
        """Return the file, which begins with its split."""
        return record.file


def _read_metadata(path: Path) -> RecordTable:
    builder = TableBuilder()
    for_each_entry(path, lambda number, entry: _add_entry(builder, entry, path, number))
    return builder.build()


def _add_entry(builder: TableBuilder, entry: Entry, path: Path, number: int) -> None:
    segments = segments_field(entry, "fake_periods", path, number)
    audio, video = (bool_field(entry, name, path, number) for name in ("modify_audio", "modify_video"))
    if segments and not (audio or video):
        raise AvlocError(f"{path}: entry {number} has fake periods, but neither modify_audio nor modify_video is true")
    split = string_field(entry, "split", path, number)
    if split not in SPLITS:
        raise AvlocError(f"{path}: entry {number}: the split must be one of {', '.join(SPLITS)}, got {split!r}")
    builder.add(
        relative_path(string_field(entry, "file", path, number), path, number),
        split,
        duration_s=duration_field(entry, path, number),
        audio=segments if audio else (),
        visual=segments if video else (),
        attributes=attribute_fields(entry, ATTRIBUTES),
    )


def write(root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write both metadata files of a generated set.

    Args:
        root: the dataset's folder.
        records: the clips of all splits.
        words: file → start and end of each word in seconds. The full metadata list them under `timestamps`, with
            numbered words.

    Returns:
        The paths of the files.
    """
    full, short = [], []
    for record in records:
        entry = _to_entry(record)
        short.append(entry)
        spoken = [[f"word{k}", round(s, 3), round(e, 3)] for k, (s, e) in enumerate(words.get(record.file, ()))]
        full.append({**entry, "timestamps": spoken, "transcript": " ".join(f"word{k}" for k in range(len(spoken)))})
    paths = [root / name for name in METADATA_NAMES]
    write_json(paths[0], full)
    write_json(paths[1], short)
    return paths


def _to_entry(record: VideoRecord) -> dict[str, object]:
    attributes = dict(record.attributes)
    return {
        "file": record.file,
        "n_fakes": len(record.segments),
        "fake_periods": [list(s) for s in record.segments],
        "duration": record.duration_s,
        "original": attributes.get("original"),
        "modify_video": bool(record.visual_segments),
        "modify_audio": bool(record.audio_segments),
        "split": record.split,
        "video_frames": int(attributes["video_frames"]),
        "audio_channels": 1,
        "audio_frames": int(attributes["audio_frames"]),
    }
