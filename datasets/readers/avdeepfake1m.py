"""AV-Deepfake1M and AV-Deepfake1M++: lists or a json per clip > records, and back.

Cai et al., "AV-Deepfake1M: a large-scale LLM-driven audio-visual deepfake dataset", ACM MM 2024, and its successor of
2025. Segments per modality; `file` is relative to the split's folder; the test splits' labels are hidden. ++ has two test
lists, its json per clip beside the mp4, and paths that begin with the source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from avloc.core.records import MODALITIES, VideoRecord
from avloc.datasets.readers.entries import (
    Entry,
    attribute_fields,
    for_each_entry,
    relative_path,
    segments_field,
    string_field,
)
from avloc.datasets.readers.index import cached_table
from avloc.datasets.readers.table import RecordTable, TableBuilder, concatenate
from avloc.errors import AvlocError
from avloc.io.files import read_json, read_lines, write_json, write_text

LABELLED_SPLITS = ("train", "val")
MODALITIES_BY_TYPE = {
    "real": (),
    "visual_modified": ("visual",),
    "audio_modified": ("audio",),
    "both_modified": ("audio", "visual"),
    "both-modified": ("audio", "visual"),  # the spelling of some entries
}
TYPE_BY_MODALITY = {"real": "real", "visual": "visual_modified", "audio": "audio_modified", "both": "both_modified"}
ATTRIBUTES = ("original", "audio_model", "video_model", "video_frames", "audio_frames")

# Repairs, as `RecordTable.repaired` counts them.
CONTRADICTING = "segments of a modality that modify_type says is untouched, left out"
NO_UNION = "fake_segments that are not the union of the modalities' lists, which count"
ONLY_UNION = "fake_segments without lists of the modalities, taken for those of modify_type"


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """The files of one of the two sets.

    Attributes:
        title: the set's name in messages.
        test_splits: splits with hidden labels.
        clip_json: the folder with a json per clip of a `{split}`.
    """

    title: str
    test_splits: tuple[str, ...]
    clip_json: str

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits."""
        return (*LABELLED_SPLITS, *self.test_splits)

    def list_path(self, root: Path, split: str) -> Path:
        """The file that lists the clips of a split."""
        return root / (f"{split}_files.txt" if split in self.test_splits else f"{split}_metadata.json")

    def clip_json_folder(self, root: Path, split: str) -> Path:
        """The folder with a json per clip of a split."""
        return root / self.clip_json.format(split=split)


ONE_M = FolderLayout("AV-Deepfake1M", ("test",), "{split}_metadata")
PLUS_PLUS = FolderLayout("AV-Deepfake1M++", ("testA", "testB"), "{split}")


@dataclass(frozen=True, slots=True)
class AVDeepfake1M:
    """The reader of AV-Deepfake1M, and with `PLUS_PLUS` of AV-Deepfake1M++.

    Args:
        layout: the set's files.

    Attributes:
        splits: `train`, `val`, and the layout's test splits.
        validation: `val`.

    >>> AVDeepfake1M(PLUS_PLUS).splits
    ('train', 'val', 'testA', 'testB')
    >>> AVDeepfake1M().public_name(VideoRecord("val/id1/real.mp4", "val"))
    'id1/real.mp4'
    """

    validation: ClassVar[str] = "val"

    layout: FolderLayout = ONE_M

    @property
    def splits(self) -> tuple[str, ...]:
        """`train` and `val`, and the layout's test splits."""
        return self.layout.splits

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all splits in the folder.

        Faults of the data are repaired and counted, see `RecordTable.repaired`.

        Raises:
            AvlocError: if the split is unknown, its list is missing, or an entry is malformed.
        """
        if split is not None:
            if split not in self.splits:
                raise AvlocError(f"{self.layout.title} has the splits {', '.join(self.splits)}, got {split!r}")
            return _read_split(root, split, self.layout)
        splits = [name for name in self.splits if _has_split(root, name, self.layout)]
        if not splits:
            names = ", ".join(self.layout.list_path(root, name).name for name in self.splits)
            raise AvlocError(f"{root}: no {self.layout.title} metadata here, want {names}")
        return concatenate([_read_split(root, name, self.layout) for name in splits])

    def public_name(self, record: VideoRecord) -> str:
        """Return the file without the split's folder, as the metadata and predictions name it."""
        return record.file.partition("/")[2]


def _has_split(root: Path, split: str, layout: FolderLayout) -> bool:
    if layout.list_path(root, split).is_file():
        return True
    return split not in layout.test_splits and _has_json(layout.clip_json_folder(root, split))


def _has_json(folder: Path) -> bool:
    return next(_json_files(folder), None) is not None


def _json_files(folder: Path) -> Iterator[Path]:
    """Iterate over all json files under a folder, sorted by name within each folder."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".json"))


def _read_split(root: Path, split: str, layout: FolderLayout) -> RecordTable:
    path = layout.list_path(root, split)
    if split in layout.test_splits:
        return _read_hidden(path, split)
    if path.is_file():
        return cached_table([path], f"{layout.title} {split}", lambda: _read_list(path, split))
    folder = layout.clip_json_folder(root, split)
    if not _has_json(folder):
        raise AvlocError(f"{path}: no such metadata file, and no json per clip in {folder}")
    return _read_clip_jsons(folder, split)


def _read_list(path: Path, split: str) -> RecordTable:
    builder = TableBuilder()
    for_each_entry(path, lambda number, entry: _add_entry(builder, entry, split, path, number))
    return builder.build()


def _read_clip_jsons(folder: Path, split: str) -> RecordTable:
    builder = TableBuilder()
    for number, path in enumerate(_json_files(folder)):
        entry = read_json(path, "metadata file")
        if not isinstance(entry, dict):
            raise AvlocError(f"{path}: want an object, got {type(entry).__name__}")
        _add_entry(builder, entry, split, path, number)
    return builder.build()


def _read_hidden(path: Path, split: str) -> RecordTable:
    builder = TableBuilder()
    for number, name in enumerate(read_lines(path, "list of test files")):
        builder.add(f"{split}/{relative_path(name, path, number)}", split, labelled=False)
    return builder.build()


def _add_entry(builder: TableBuilder, entry: Entry, split: str, path: Path, number: int) -> None:
    modify_type = string_field(entry, "modify_type", path, number)
    if modify_type not in MODALITIES_BY_TYPE:
        raise AvlocError(
            f"{path}: entry {number}: modify_type must be one of {', '.join(MODALITIES_BY_TYPE)}, got {modify_type!r}"
        )
    segments = _modality_segments(builder, entry, MODALITIES_BY_TYPE[modify_type], path, number)
    builder.add(
        f"{split}/{relative_path(string_field(entry, 'file', path, number), path, number)}",
        split,
        audio=segments["audio"],
        visual=segments["visual"],
        attributes=attribute_fields(entry, ATTRIBUTES),
    )


def _modality_segments(
    builder: TableBuilder, entry: Entry, modified: tuple[str, ...], path: Path, number: int
) -> dict[str, list[tuple[float, float]]]:
    """Read the segments of each modality, repair contradictions, and count them in the builder."""
    segments = {}
    for modality in MODALITIES:
        segments[modality] = segments_field(entry, f"{modality}_fake_segments", path, number)
        if segments[modality] and modality not in modified:
            builder.repaired[CONTRADICTING] += 1
            segments[modality] = []
    if "fake_segments" not in entry:
        return segments
    union = segments_field(entry, "fake_segments", path, number)
    if union and not any(segments.values()) and modified:
        builder.repaired[ONLY_UNION] += 1
        return {modality: union if modality in modified else [] for modality in MODALITIES}
    if {*union} != {*segments["audio"], *segments["visual"]}:
        builder.repaired[NO_UNION] += 1
    return segments


def write(root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write the metadata of a generated set: lists, a json per clip, and the hidden test labels in `truth/`.

    Args:
        root: the dataset's folder.
        records: the clips of all splits, with files relative to `root`.
        words: file → start and end of each word in seconds.

    Returns:
        The paths of the lists.
    """
    return _write(root, records, words, ONE_M)


def write_plus_plus(
    root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Path]:
    """Write the metadata of a generated set in the layout of AV-Deepfake1M++; arguments as in `write`."""
    return _write(root, records, words, PLUS_PLUS)


def _write(
    root: Path,
    records: Iterable[VideoRecord],
    words: Mapping[str, Sequence[tuple[float, float]]],
    layout: FolderLayout,
) -> list[Path]:
    by_split: dict[str, list[VideoRecord]] = {split: [] for split in layout.splits}
    for record in records:
        by_split[record.split].append(record)
    for split in LABELLED_SPLITS:
        for record in by_split[split]:
            _write_clip_json(root, record, words.get(record.file, ()), layout)
        write_json(layout.list_path(root, split), [_to_entry(record, layout) for record in by_split[split]])
    for split in layout.test_splits:
        names = [_name_in_split(record) for record in by_split[split]]
        write_text(layout.list_path(root, split), "".join(f"{name}\n" for name in names))
        hidden = [_to_entry(record, layout) for record in by_split[split]]
        write_json(root / "truth" / f"{split}_metadata.json", hidden)
    return [layout.list_path(root, split) for split in layout.splits]


def _write_clip_json(
    root: Path, record: VideoRecord, words: Sequence[tuple[float, float]], layout: FolderLayout
) -> None:
    path = layout.clip_json_folder(root, record.split) / Path(_name_in_split(record)).with_suffix(".json")
    operations = [{"operation": "replace", "start": s, "end": e} for s, e in record.segments]
    spoken = [{"word": f"word{k}", "start": round(s, 3), "end": round(e, 3)} for k, (s, e) in enumerate(words)]
    write_json(path, {**_to_entry(record, layout), "operations": operations, "transcripts": spoken})


def _name_in_split(record: VideoRecord) -> str:
    return record.file.partition("/")[2]


def _to_entry(record: VideoRecord, layout: FolderLayout) -> dict[str, object]:
    attributes = dict(record.attributes)
    models = {"audio_model": attributes.get("audio_model")}
    if layout is PLUS_PLUS:
        models["video_model"] = attributes.get("video_model")
    return {
        "file": _name_in_split(record),
        "original": attributes.get("original"),
        "split": record.split,
        "modify_type": TYPE_BY_MODALITY[record.modality],
        **models,
        "fake_segments": [list(s) for s in record.segments],
        "audio_fake_segments": [list(s) for s in record.audio_segments],
        "visual_fake_segments": [list(s) for s in record.visual_segments],
        "video_frames": int(attributes["video_frames"]),
        "audio_frames": int(attributes["audio_frames"]),
    }
