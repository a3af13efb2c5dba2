"""AV-Deepfake1M and AV-Deepfake1M++: lists or a json per clip > records, and back.

Cai et al., "AV-Deepfake1M: a large-scale LLM-driven audio-visual deepfake dataset", ACM MM 2024, and its successor of
2025. Segments per modality; `file` is relative to the split's folder; the test splits' labels are hidden. ++ has two test
lists, its json per clip beside the mp4, and paths that begin with the source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avloc.core.records import VideoRecord
from avloc.datasets.readers.entries import field, iter_entries, relative_path, segments_field, text
from avloc.datasets.readers.index import cached
from avloc.datasets.readers.table import RecordTable, TableBuilder, joined
from avloc.errors import AvlocError
from avloc.io.files import read_json, read_lines, write_json, write_text

LABELLED = ("train", "val")
MODIFY_TYPES = {
    "real": (), "visual_modified": ("visual",), "audio_modified": ("audio",), "both_modified": ("audio", "visual"),
    "both-modified": ("audio", "visual"),
}  # fmt: skip
MODIFY_TYPE_OF = {"real": "real", "visual": "visual_modified", "audio": "audio_modified", "both": "both_modified"}
ATTRIBUTES = ("original", "audio_model", "video_model", "video_frames", "audio_frames")
CONTRADICTING = "segments of a modality that modify_type says is untouched, left out"
NO_UNION = "fake_segments that are not the union of the modalities' lists, which count"
ONLY_UNION = "fake_segments without lists of the modalities, taken for those of modify_type"


@dataclass(frozen=True, slots=True)
class Layout:
    """What tells the two sets apart: their test splits, and where a clip's own json lies."""

    name: str
    tests: tuple[str, ...]
    clip_json: str  # folder of the json per clip of a split

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits."""
        return (*LABELLED, *self.tests)


ONE_M = Layout("AV-Deepfake1M", ("test",), "{split}_metadata")
PLUS_PLUS = Layout("AV-Deepfake1M++", ("testA", "testB"), "{split}")


def read(root: Path, split: str | None = None) -> RecordTable:
    """The records of AV-Deepfake1M's split (`train`, `val`, `test`), or of all that are there; files relative to `root`.

    Faults of the data are mended and counted: see `RecordTable.repaired`.

    Raises:
        AvlocError: if the split's list is missing, or an entry is not as it should be.
    """
    return _read(root, split, ONE_M)


def read_plus_plus(root: Path, split: str | None = None) -> RecordTable:
    """The records of AV-Deepfake1M++'s split (`train`, `val`, `testA`, `testB`); as `read`."""
    return _read(root, split, PLUS_PLUS)


def _read(root: Path, split: str | None, layout: Layout) -> RecordTable:
    if split is not None and split not in layout.splits:
        raise AvlocError(f"{layout.name} has the splits {', '.join(layout.splits)}, got {split!r}")
    wanted = [split] if split is not None else [s for s in layout.splits if _is_there(root, s, layout)]
    if not wanted:
        lists = [f"{s}_metadata.json" for s in LABELLED] + [f"{s}_files.txt" for s in layout.tests]
        raise AvlocError(f"{root}: no {layout.name} metadata here, want {', '.join(lists)}")
    return joined([_split_table(root, name, layout) for name in wanted])


def _is_there(root: Path, split: str, layout: Layout) -> bool:
    if split in layout.tests:
        return (root / f"{split}_files.txt").is_file()
    return (root / f"{split}_metadata.json").is_file() or _clip_jsons_of(root, split, layout) is not None


def _clip_jsons_of(root: Path, split: str, layout: Layout) -> Path | None:
    """The folder with a json per clip, if one is there and has any."""
    folder = root / layout.clip_json.format(split=split)
    return folder if next(_jsons(folder), None) is not None else None


def _jsons(folder: Path) -> Iterator[Path]:
    """All json files under a folder, in order of their names."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where, name) for name in sorted(names) if name.endswith(".json"))


def _split_table(root: Path, split: str, layout: Layout) -> RecordTable:
    if split in layout.tests:
        return _hidden(root / f"{split}_files.txt", split)
    path = root / f"{split}_metadata.json"
    if path.is_file():
        return cached([path], f"{layout.name} {split}", lambda: _listed(path, split))
    folder = _clip_jsons_of(root, split, layout)
    if folder is None:
        raise AvlocError(
            f"{path}: no such metadata file, and no json per clip in {root / layout.clip_json.format(split=split)}"
        )
    builder = TableBuilder()
    for number, own in enumerate(_jsons(folder)):
        entry = read_json(own, "metadata file")
        if not isinstance(entry, dict):
            raise AvlocError(f"{own}: want an object, got {type(entry).__name__}")
        _add(builder, entry, split, own, number)
    return builder.build()


def _listed(path: Path, split: str) -> RecordTable:
    builder = TableBuilder()
    iter_entries(path, lambda number, entry: _add(builder, entry, split, path, number))
    return builder.build()


def _add(builder: TableBuilder, entry: dict[str, Any], split: str, path: Path, number: int) -> None:
    kind = field(entry, "modify_type", str, path, number)
    if kind not in MODIFY_TYPES:
        raise AvlocError(f"{path}: entry {number}: modify_type must be one of {', '.join(MODIFY_TYPES)}, got {kind!r}")
    segments = {}
    for modality in ("audio", "visual"):
        found = segments_field(entry, f"{modality}_fake_segments", path, number)
        if found and modality not in MODIFY_TYPES[kind]:
            builder.repaired[CONTRADICTING] += 1
            found = []
        segments[modality] = found
    if "fake_segments" in entry:
        whole = segments_field(entry, "fake_segments", path, number)
        if whole and not any(segments.values()) and MODIFY_TYPES[kind]:
            builder.repaired[ONLY_UNION] += 1
            segments = {m: whole if m in MODIFY_TYPES[kind] else [] for m in segments}
        elif {*whole} != {*segments["audio"], *segments["visual"]}:
            builder.repaired[NO_UNION] += 1
    builder.add(
        f"{split}/{relative_path(field(entry, 'file', str, path, number), path, number)}", split,
        audio=segments["audio"], visual=segments["visual"],
        attributes={k: text(entry[k]) for k in ATTRIBUTES if k in entry},
    )  # fmt: skip


def _hidden(path: Path, split: str) -> RecordTable:
    builder = TableBuilder()
    for k, name in enumerate(read_lines(path, "list of test files")):
        builder.add(f"{split}/{relative_path(name, path, k)}", split, labelled=False)
    return builder.build()


def write(root: Path, records: Iterable[VideoRecord], words: dict[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write the metadata of a generated set: lists, a json per clip, and the hidden test labels in `truth/`.

    Args:
        root: the dataset's folder.
        records: all splits together, files relative to `root`.
        words: by file, the words' times.
    """
    return _write(root, records, words, ONE_M)


def write_plus_plus(
    root: Path, records: Iterable[VideoRecord], words: dict[str, Sequence[tuple[float, float]]]
) -> list[Path]:
    """Write the metadata of a generated set in the layout of AV-Deepfake1M++; as `write`."""
    return _write(root, records, words, PLUS_PLUS)


def _write(
    root: Path, records: Iterable[VideoRecord], words: dict[str, Sequence[tuple[float, float]]], layout: Layout
) -> list[Path]:
    paths = []
    by_split: dict[str, list[VideoRecord]] = {split: [] for split in layout.splits}
    for record in records:
        by_split[record.split].append(record)
    for split in LABELLED:
        entries = [_entry(r, layout) for r in by_split[split]]
        for record, entry in zip(by_split[split], entries, strict=True):
            spoken = [
                {"word": f"word{k}", "start": round(s, 3), "end": round(e, 3)}
                for k, (s, e) in enumerate(words.get(record.file, ()))
            ]
            operations = [{"operation": "replace", "start": s, "end": e} for s, e in record.segments]
            per_clip = root / layout.clip_json.format(split=split) / Path(entry["file"]).with_suffix(".json")
            write_json(per_clip, {**entry, "operations": operations, "transcripts": spoken})
        paths.append(root / f"{split}_metadata.json")
        write_json(paths[-1], entries)
    for split in layout.tests:
        hidden = [_entry(r, layout) for r in by_split[split]]
        paths.append(root / f"{split}_files.txt")
        write_text(paths[-1], "".join(f"{e['file']}\n" for e in hidden))
        write_json(root / "truth" / f"{split}_metadata.json", hidden)
    return paths


def _entry(record: VideoRecord, layout: Layout) -> dict[str, Any]:
    known = dict(record.attributes)
    models = {"audio_model": known.get("audio_model")}
    if layout is PLUS_PLUS:
        models["video_model"] = known.get("video_model")
    return {
        "file": record.file.partition("/")[2], "original": known.get("original"), "split": record.split,
        "modify_type": MODIFY_TYPE_OF[record.modality], **models,
        "fake_segments": [list(s) for s in record.segments],
        "audio_fake_segments": [list(s) for s in record.audio_segments],
        "visual_fake_segments": [list(s) for s in record.visual_segments],
        "video_frames": int(known["video_frames"]), "audio_frames": int(known["audio_frames"]),
    }  # fmt: skip
