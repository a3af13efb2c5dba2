"""A generated set > the faults of real sets injected into it, which readers, extraction and training must cope with.

Each fault is one clip of the train split, listed in `corruptions.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.synthetic.composition import FPS
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.files import read_json, write_json

ENOUGH_CLIPS = 36  # each corruption needs a train clip of its own
LISTING = "corruptions.json"
OTHER_FPS = 30
TRUNCATED_SHARE = 0.6
PAST_END_S = 5.0
ODD_NAME = "ein Clip – été 夏.mp4"


def inject(root: Path, records: Sequence[VideoRecord]) -> tuple[list[VideoRecord], dict[str, str]]:
    """Change files and records of a set so that each corruption occurs once.

    A file that is corrupted already stays as it is, so a set can be finished after an interruption.

    Args:
        root: the dataset's folder with its clips.
        records: all clips; their metadata are written afterwards.

    Returns:
        The records for the metadata, and corruption → the clip's file.
    """
    changed = list(records)
    free = [k for k, record in enumerate(records) if record.split == "train"]
    corruptions = {}
    for name, (modality, corrupt) in _CLIP_CORRUPTIONS.items():
        clip = next((k for k in free if modality in (None, records[k].modality)), None)
        if clip is None:
            raise AvlocError(
                f"{root}: too few train clips for every corruption ({name}); generate {ENOUGH_CLIPS} clips or more"
            )
        free.remove(clip)
        changed[clip] = corrupt(root, records[clip])
        corruptions[name] = changed[clip].file
    return changed, corruptions


def contradict(root: Path, lists: Sequence[Path], corruptions: dict[str, str]) -> None:
    """Corrupt the train metadata of an AV-Deepfake1M set, and write the listing of all corruptions.

    One clip gets a segment of the modality that its `modify_type` says is untouched, another an odd spelling of
    `modify_type`. Both are added to `corruptions`.

    Args:
        root: the dataset's folder.
        lists: the metadata files; in LAV-DF's layout nothing is changed.
        corruptions: corruption → the clip's file, from `inject`.
    """
    for path in lists:
        if path.name != "train_metadata.json":
            continue
        entries = read_json(path, "metadata file")
        used = set(corruptions.values())
        free = [e for e in entries if e["modify_type"] == "audio_modified" and f"train/{e['file']}" not in used]
        if not free:
            raise AvlocError(
                f"{path}: too few train clips for contradicting lists; generate {ENOUGH_CLIPS} clips or more"
            )
        clip = free[0]
        clip["visual_fake_segments"] = [[0.5, 0.7]]
        corruptions["contradicting lists"] = f"train/{clip['file']}"
        for entry in entries:
            if entry["modify_type"] == "both_modified":
                entry["modify_type"] = "both-modified"
                corruptions["odd spelling"] = f"train/{entry['file']}"
                break
        write_json(path, entries)
    write_json(root / LISTING, corruptions)


def _drop_audio(root: Path, record: VideoRecord) -> VideoRecord:
    frames, _ = _decode(root / record.file)
    write_mp4(root / record.file, frames, None)
    return record


def _change_frame_rate(root: Path, record: VideoRecord) -> VideoRecord:
    path = root / record.file
    if round(probe(path).fps or 0) != OTHER_FPS:
        frames, samples = _decode(path)
        count = len(frames) * OTHER_FPS // FPS
        write_mp4(path, frames[np.arange(count) * FPS // OTHER_FPS], samples, fps=OTHER_FPS)
    return record


def _truncate(root: Path, record: VideoRecord) -> VideoRecord:
    path = root / record.file
    content = path.read_bytes()
    if b"moov" in content:  # an mp4's index, at the end of the file: the truncated file has none
        path.write_bytes(content[: int(TRUNCATED_SHARE * len(content))])
    return record


def _extend_past_end(root: Path, record: VideoRecord) -> VideoRecord:
    *others, last = record.visual_segments
    end_s = last.end_s + PAST_END_S + (record.duration_s or 0)
    return replace(record, visual_segments=(*others, Segment(last.start_s, end_s)))


def _rename_oddly(root: Path, record: VideoRecord) -> VideoRecord:
    name = str(Path(record.file).with_name(ODD_NAME))
    if (root / record.file).exists():
        (root / record.file).rename(root / name)
    return replace(record, file=name)


def _decode(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    info = probe(path)
    video_format = VideoFormat(info.height or 0, info.width or 0)
    clip = decode(path, [video_format])
    return clip.frames[video_format], clip.samples


# Corruption → the modality of the clip that gets it (None: any), and the function that changes file and record.
_CLIP_CORRUPTIONS: dict[str, tuple[str | None, Callable[[Path, VideoRecord], VideoRecord]]] = {
    "no sound": ("visual", _drop_audio),
    "other frame rate": ("real", _change_frame_rate),
    "truncated": ("both", _truncate),
    "past the end": ("visual", _extend_past_end),
    "odd name": (None, _rename_oddly),
}
