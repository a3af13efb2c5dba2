"""AV-Deepfake1M: `train_metadata.json`, `val_metadata.json`, `test_files.txt` > records, and back.

Cai et al., "AV-Deepfake1M: a large-scale LLM-driven audio-visual deepfake dataset", ACM MM 2024. Segments per modality;
`file` is relative to the split's folder; the test split's labels are hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avloc.datasets.entries import field, read_entries, relative_path, segments_field, text
from avloc.errors import AvlocError
from avloc.files import write_json
from avloc.records import VideoRecord

METADATA = {"train": "train_metadata.json", "val": "val_metadata.json"}
TEST_FILES = "test_files.txt"
MODIFY_TYPES = {
    "real": (), "visual_modified": ("visual",), "audio_modified": ("audio",), "both_modified": ("audio", "visual"),
    "both-modified": ("audio", "visual"),
}  # fmt: skip
MODIFY_TYPE_OF = {"real": "real", "visual": "visual_modified", "audio": "audio_modified", "both": "both_modified"}


def read(root: Path, split: str | None = None) -> list[VideoRecord]:
    """The records of a split (`train`, `val`, `test`), or of all that are there; files relative to `root`.

    A segment in the list of a modality that `modify_type` says is untouched is dropped there (a known fault of the data).

    Raises:
        AvlocError: if the split's list is missing, or an entry is not as it should be.
    """
    known = (*METADATA, "test")
    if split is not None and split not in known:
        raise AvlocError(f"AV-Deepfake1M has the splits {', '.join(known)}, got {split!r}")
    wanted = [split] if split is not None else [s for s in known if (root / METADATA.get(s, TEST_FILES)).is_file()]
    if not wanted:
        raise AvlocError(f"{root}: no AV-Deepfake1M metadata here, want {', '.join([*METADATA.values(), TEST_FILES])}")
    records: list[VideoRecord] = []
    for name in wanted:
        if name in METADATA:
            path = root / METADATA[name]
            records += [_record(entry, name, path, k) for k, entry in enumerate(read_entries(path))]
        else:
            records += _hidden(root / TEST_FILES)
    return records


def _record(entry: dict[str, Any], split: str, path: Path, number: int) -> VideoRecord:
    kind = field(entry, "modify_type", str, path, number)
    if kind not in MODIFY_TYPES:
        raise AvlocError(f"{path}: entry {number}: modify_type must be one of {', '.join(MODIFY_TYPES)}, got {kind!r}")
    audio = segments_field(entry, "audio_fake_segments", path, number)
    visual = segments_field(entry, "visual_fake_segments", path, number)
    return VideoRecord(
        file=f"{split}/{relative_path(field(entry, 'file', str, path, number), path, number)}",
        split=split,
        audio_segments=audio if "audio" in MODIFY_TYPES[kind] else (),
        visual_segments=visual if "visual" in MODIFY_TYPES[kind] else (),
        attributes=tuple(
            (k, text(entry[k])) for k in ("original", "audio_model", "video_frames", "audio_frames") if k in entry
        ),
    )


def _hidden(path: Path) -> list[VideoRecord]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such list of test files") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8") from error
    names = [line.strip() for line in lines if line.strip()]
    return [
        VideoRecord(file=f"test/{relative_path(name, path, k)}", split="test", labelled=False)
        for k, name in enumerate(names)
    ]


def write(root: Path, records: Iterable[VideoRecord], words: dict[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write the metadata of a generated set: lists, a json per clip, and the hidden test labels in `truth/`.

    Args:
        root: the dataset's folder.
        records: all splits together, files relative to `root`.
        words: by file, the words' times.
    """
    paths = []
    by_split: dict[str, list[VideoRecord]] = {"train": [], "val": [], "test": []}
    for record in records:
        by_split[record.split].append(record)
    for split, name in METADATA.items():
        entries = [_entry(r) for r in by_split[split]]
        for record, entry in zip(by_split[split], entries, strict=True):
            spoken = [
                {"word": f"word{k}", "start": round(s, 3), "end": round(e, 3)}
                for k, (s, e) in enumerate(words.get(record.file, ()))
            ]
            operations = [{"operation": "replace", "start": s, "end": e} for s, e in record.segments]
            per_clip = root / f"{split}_metadata" / Path(entry["file"]).with_suffix(".json")
            write_json(per_clip, {**entry, "operations": operations, "transcripts": spoken})
        write_json(root / name, entries)
        paths.append(root / name)
    hidden = [_entry(r) for r in by_split["test"]]
    (root / TEST_FILES).write_text("".join(f"{e['file']}\n" for e in hidden), encoding="utf-8")
    write_json(root / "truth" / "test_metadata.json", hidden)
    return [*paths, root / TEST_FILES]


def _entry(record: VideoRecord) -> dict[str, Any]:
    known = dict(record.attributes)
    return {
        "file": record.file.partition("/")[2], "original": known.get("original"), "split": record.split,
        "modify_type": MODIFY_TYPE_OF[record.modality], "audio_model": known.get("audio_model"),
        "fake_segments": [list(s) for s in record.segments],
        "audio_fake_segments": [list(s) for s in record.audio_segments],
        "visual_fake_segments": [list(s) for s in record.visual_segments],
        "video_frames": int(known["video_frames"]), "audio_frames": int(known["audio_frames"]),
    }  # fmt: skip
