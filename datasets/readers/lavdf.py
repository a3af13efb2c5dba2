"""LAV-DF: `metadata.json` (or `metadata.min.json`) > records, and back.

Cai et al., "Do you really mean that? Content driven audio-visual deepfake dataset and multimodal method for temporal
forgery localization", DICTA 2022. One list of fake periods; `modify_audio` and `modify_video` say in which modalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avloc.core.records import VideoRecord
from avloc.datasets.readers.entries import duration_field, field, iter_entries, relative_path, segments_field, text
from avloc.datasets.readers.index import cached
from avloc.datasets.readers.table import RecordTable, TableBuilder
from avloc.errors import AvlocError
from avloc.io.files import write_json

METADATA = ("metadata.json", "metadata.min.json")
SPLITS = ("train", "dev", "test")


def read(root: Path, split: str | None = None) -> RecordTable:
    """The records of a split (`train`, `dev`, `test`), or of all.

    Raises:
        AvlocError: if no metadata file is there, or an entry is not as it should be.
    """
    if split is not None and split not in SPLITS:
        raise AvlocError(f"LAV-DF has the splits {', '.join(SPLITS)}, got {split!r}")
    path = next((root / name for name in METADATA if (root / name).is_file()), None)
    if path is None:
        raise AvlocError(f"{root}: no LAV-DF metadata here, want {' or '.join(METADATA)}")
    table = cached([path], "lavdf", lambda: _table(path))
    return table if split is None else table.take(table.split.isin(split))


def _table(path: Path) -> RecordTable:
    builder = TableBuilder()

    def take(number: int, entry: dict[str, Any]) -> None:
        segments = segments_field(entry, "fake_periods", path, number)
        audio, video = (field(entry, name, bool, path, number) for name in ("modify_audio", "modify_video"))
        if segments and not (audio or video):
            raise AvlocError(
                f"{path}: entry {number} has fake periods, but neither modify_audio nor modify_video is true"
            )
        builder.add(
            relative_path(field(entry, "file", str, path, number), path, number),
            _split(entry, path, number),
            duration_s=duration_field(entry, path, number),
            audio=segments if audio else (),
            visual=segments if video else (),
            attributes={k: text(entry[k]) for k in ("original", "video_frames", "audio_frames") if k in entry},
        )

    iter_entries(path, take)
    return builder.build()


def _split(entry: dict[str, Any], path: Path, number: int) -> str:
    split: str = field(entry, "split", str, path, number)
    if split not in SPLITS:
        raise AvlocError(f"{path}: entry {number}: the split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split


def write(root: Path, records: Iterable[VideoRecord], words: dict[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write both metadata files of a generated set.

    Args:
        root: the dataset's folder.
        records: all splits together.
        words: by file, the words' times; the full metadata has them under `timestamps`, with numbered words.
    """
    full, short = [], []
    for record in records:
        known = dict(record.attributes)
        entry = {
            "file": record.file, "n_fakes": len(record.segments), "fake_periods": [list(s) for s in record.segments],
            "duration": record.duration_s, "original": known.get("original"),
            "modify_video": bool(record.visual_segments), "modify_audio": bool(record.audio_segments),
            "split": record.split, "video_frames": int(known["video_frames"]), "audio_channels": 1,
            "audio_frames": int(known["audio_frames"]),
        }  # fmt: skip
        short.append(entry)
        spoken = [[f"word{k}", round(s, 3), round(e, 3)] for k, (s, e) in enumerate(words.get(record.file, ()))]
        full.append({**entry, "timestamps": spoken, "transcript": " ".join(f"word{k}" for k in range(len(spoken)))})
    paths = [root / METADATA[0], root / METADATA[1]]
    write_json(paths[0], full)
    write_json(paths[1], short)
    return paths
