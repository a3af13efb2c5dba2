"""The known traps of real sets, planted into a generated one: what readers, extraction and training must cope with.

Each is one clip of the train split, listed in `traps.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.decode import decode, probe
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.files import read_json, write_json

LISTING = "traps.json"
OTHER_FPS = 30
TRUNCATED_SHARE = 0.6
PAST_END_S = 5.0
ODD_NAME = "ein Clip – été 夏.mp4"


def inject(root: Path, records: list[VideoRecord]) -> tuple[list[VideoRecord], dict[str, str]]:
    """Change a set's files and records so that each trap occurs once.

    Args:
        root: the dataset's folder, its clips already there.
        records: all of them; the metadata are written afterwards.

    Returns:
        The records as the metadata shall have them, and by trap, the clip's file.
    """
    changed = list(records)
    free = [k for k, r in enumerate(records) if r.split == "train"]

    def take(wanted: Callable[[VideoRecord], bool]) -> int:
        found = next(k for k in free if wanted(records[k]))
        free.remove(found)
        return found

    traps = {}
    for name, wanted, change in (
        ("no sound", lambda r: r.modality == "visual", _without_sound),
        ("other frame rate", lambda r: r.modality == "real", _at_other_rate),
        ("truncated", lambda r: r.modality == "both", _truncated),
        ("past the end", lambda r: r.modality == "visual", _past_the_end),
        ("odd name", lambda r: True, _renamed),
    ):
        clip = take(wanted)
        changed[clip] = change(root, records[clip])
        traps[name] = changed[clip].file
    return changed, traps


def contradict(root: Path, lists: list[Path], traps: dict[str, str]) -> None:
    """Give a clip of an AV-Deepfake1M set a segment of the modality that it says is untouched, and another its odd spelling."""
    for path in lists:
        if path.name != "train_metadata.json":
            continue
        entries = read_json(path, "metadata file")
        used = set(traps.values())
        clip = next(e for e in entries if e["modify_type"] == "audio_modified" and f"train/{e['file']}" not in used)
        clip["visual_fake_segments"] = [[0.5, 0.7]]
        traps["contradicting lists"] = f"train/{clip['file']}"
        for entry in entries:
            if entry["modify_type"] == "both_modified":
                entry["modify_type"] = "both-modified"
                traps["odd spelling"] = f"train/{entry['file']}"
                break
        write_json(path, entries)
    write_json(root / LISTING, traps)


def _without_sound(root: Path, record: VideoRecord) -> VideoRecord:
    frames, _ = _decoded(root / record.file)
    write_mp4(root / record.file, frames, None)
    return record


def _at_other_rate(root: Path, record: VideoRecord) -> VideoRecord:
    path = root / record.file
    if round(probe(path).fps or 0) != OTHER_FPS:
        frames, samples = _decoded(path)
        count = len(frames) * OTHER_FPS // 25
        write_mp4(path, frames[np.arange(count) * 25 // OTHER_FPS], samples, fps=OTHER_FPS)
    return record


def _truncated(root: Path, record: VideoRecord) -> VideoRecord:
    path = root / record.file
    data = path.read_bytes()
    if b"moov" in data:  # the index lies at the end, so what is left has none
        path.write_bytes(data[: int(TRUNCATED_SHARE * len(data))])
    return record


def _past_the_end(root: Path, record: VideoRecord) -> VideoRecord:
    *others, last = record.visual_segments
    return replace(
        record, visual_segments=(*others, Segment(last.start_s, last.end_s + PAST_END_S + (record.duration_s or 0)))
    )


def _renamed(root: Path, record: VideoRecord) -> VideoRecord:
    new = str(Path(record.file).with_name(ODD_NAME))
    if (root / record.file).exists():
        (root / record.file).rename(root / new)
    return replace(record, file=new)


def _decoded(path: Path) -> tuple[np.ndarray, np.ndarray | None]:  # type: ignore[type-arg]
    info = probe(path)
    frames = VideoFormat(info.height or 0, info.width or 0)
    clip = decode(path, [frames])
    return clip.frames[frames], clip.samples
