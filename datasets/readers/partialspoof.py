"""PartialSpoof: protocols and frame labels > records, and back.

Zhang et al., "The PartialSpoof database and countermeasures for the detection of short fake speech segments embedded in an
utterance", IEEE/ACM TASLP 2023. A protocol lists the clips of a split (column 2 the clip, column 5 `bonafide` or `spoof`);
`segment_labels/{split}_seglab_{step}.npy` holds a dictionary from clip to a label per frame of `step` seconds: '1' is bona fide,
'0' spoof. The finest labels are read. A frame is spoof if any part of it is, so segments are up to a frame too long at each end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avloc.core.records import VideoRecord
from avloc.core.timeline import merge_touching
from avloc.datasets.readers.entries import relative_path
from avloc.datasets.readers.index import cached_table
from avloc.datasets.readers.table import RecordTable, TableBuilder, concatenate
from avloc.errors import AvlocError
from avloc.io.files import numbered_fields, replacing, write_text
from avloc.io.pickles import read_saved_object

STEPS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
BONAFIDE, SPOOF = "1", "0"
IS_FAKE = {"bonafide": False, "spoof": True}
SUFFIXES = (".wav", ".flac")
COLUMNS = 5

# Repairs, as `RecordTable.repaired` counts them.
UNLISTED = "clips with frame labels that the protocol does not list, left out"
NO_SPOOF = "clips that the protocol calls spoof and that have no spoof frame, which count as real"


class PartialSpoof:
    """The reader of PartialSpoof; the root is the folder `database`.

    Attributes:
        splits: `train`, `dev`, `eval`.
        validation: `dev`.
        modalities: `audio` alone.

    >>> PartialSpoof().public_name(VideoRecord("eval/con_wav/CON_E_0000001.wav", "eval"))
    'CON_E_0000001'
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "dev", "eval")
    validation: ClassVar[str] = "dev"
    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all splits in the folder.

        Raises:
            AvlocError: if the split is unknown, a file is missing, or protocol and frame labels are malformed or contradict each
                other; names the line or the clip.
        """
        if split is not None:
            if split not in self.splits:
                raise AvlocError(f"PartialSpoof has the splits {', '.join(self.splits)}, got {split!r}")
            return _read_split(root, split)
        splits = [name for name in self.splits if protocol_path(root, name).is_file()]
        if not splits:
            raise AvlocError(f"{root}: no PartialSpoof protocols here, want {protocol_path(Path(), 'train')}")
        return concatenate([_read_split(root, name) for name in splits])

    def public_name(self, record: VideoRecord) -> str:
        """Return the clip's name in the protocols: the file without folders and suffix."""
        return Path(record.file).stem


def protocol_path(root: Path, split: str) -> Path:
    """Return the file that lists the clips of a split."""
    return root / "protocols" / "PartialSpoof_LA_cm_protocols" / f"PartialSpoof.LA.cm.{split}.trl.txt"


def labels_path(root: Path, split: str, step_s: float) -> Path:
    """Return the file with the labels of a split in frames of `step_s` seconds."""
    return root / "segment_labels" / f"{split}_seglab_{step_s:g}.npy"


def _read_split(root: Path, split: str) -> RecordTable:
    protocol = protocol_path(root, split)
    if not protocol.is_file():
        raise AvlocError(f"{protocol}: no such protocol")
    step_s = next((s for s in STEPS_S if labels_path(root, split, s).is_file()), None)
    if step_s is None:
        raise AvlocError(f"{labels_path(root, split, STEPS_S[0])}: no such label file, nor one of another step")
    labels = labels_path(root, split, step_s)
    return cached_table(
        [protocol, labels], f"partialspoof {split}", lambda: _read_files(root, split, protocol, labels, step_s)
    )


def _read_files(root: Path, split: str, protocol: Path, labels: Path, step_s: float) -> RecordTable:
    frames = read_saved_object(labels, "label file")
    if not isinstance(frames, dict):
        raise AvlocError(f"{labels}: want a dictionary of clip: labels, got {type(frames).__name__}")
    builder, suffix = TableBuilder(), None
    names: set[str] = set()
    for number, fields in numbered_fields(protocol, "protocol"):
        speaker, name, label = _parse_line(fields, protocol, number)
        if name in names:
            raise AvlocError(f"{protocol}: line {number}: the clip {name} is in the file more than once")
        if name not in frames:
            raise AvlocError(f"{protocol}: line {number}: the clip {name} has no labels in {labels}")
        names.add(name)
        is_spoof = _spoof_frames(frames[name], labels, name)
        if is_spoof.any() and not IS_FAKE[label]:
            raise AvlocError(
                f"{labels}: {name}: has {int(is_spoof.sum())} frames of spoof ('0'), but the protocol calls the clip bonafide; "
                "want '1' for bona fide frames"
            )
        builder.repaired[NO_SPOOF] += int(IS_FAKE[label] and not is_spoof.any())
        if suffix is None:
            suffix = next((s for s in SUFFIXES if (root / split / "con_wav" / f"{name}{s}").is_file()), SUFFIXES[0])
        builder.add(
            f"{split}/con_wav/{name}{suffix}",
            split,
            duration_s=round(len(is_spoof) * step_s, 6),
            audio=_runs_s(is_spoof, step_s),
            attributes={"speaker": speaker},
        )
    builder.repaired[UNLISTED] += len(frames) - len(names)
    builder.repaired += Counter()  # faults that do not occur are not named
    return builder.build()


def _parse_line(fields: Sequence[str], path: Path, number: int) -> tuple[str, str, str]:
    """Return speaker, clip and label of a line."""
    if len(fields) != COLUMNS or fields[-1] not in IS_FAKE:
        raise AvlocError(
            f"{path}: line {number}: want speaker, clip, -, system and bonafide or spoof, got {' '.join(fields)[:60]!r}"
        )
    return fields[0], relative_path(fields[1], path, number), fields[-1]


def _spoof_frames(labels: Any, path: Path, name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return whether each frame is spoof: (T,)."""
    try:
        texts = np.asarray(labels)
        texts = texts.astype(np.int64).astype(str) if texts.dtype.kind in "iufb" else texts.astype(str)
    except (TypeError, ValueError):
        texts = np.zeros((), dtype=str)
    unknown = texts[(texts != BONAFIDE) & (texts != SPOOF)] if texts.ndim == 1 else texts
    if texts.ndim != 1 or not len(texts) or len(unknown):
        got = (
            f"{str(unknown[0])[:40]!r}"
            if unknown.ndim == 1 and len(unknown)
            else f"{type(labels).__name__} of no frames"
        )
        raise AvlocError(f"{path}: {name}: want a label '1' (bona fide) or '0' (spoof) per frame, got {got}")
    return np.asarray(texts == SPOOF)


def _runs_s(is_spoof: np.ndarray[tuple[int], np.dtype[np.bool_]], step_s: float) -> list[tuple[float, float]]:
    """Return start and end in seconds of each run of spoof frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_spoof, [False]]).astype(np.int8)))
    return [(round(a * step_s, 6), round(b * step_s, 6)) for a, b in edges.reshape(-1, 2).tolist()]


def write(root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write protocols and frame labels at every step of a generated set.

    Args:
        root: the dataset's folder.
        records: the clips of all splits, with files relative to `root` and known lengths.
        words: not kept by this layout.

    Returns:
        The paths of the protocols.
    """
    by_split: dict[str, list[VideoRecord]] = {split: [] for split in PartialSpoof.splits}
    for record in records:
        by_split[record.split].append(record)
    for split, clips in by_split.items():
        names = [Path(record.file).stem for record in clips]
        lines = [
            f"{dict(record.attributes).get('speaker', 'LA_0000')} {name} - "
            f"{'CON spoof' if record.audio_segments else '- bonafide'}\n"
            for name, record in zip(names, clips, strict=True)
        ]
        write_text(protocol_path(root, split), "".join(lines))
        write_text(root / split / f"{split}.lst", "".join(f"{name}\n" for name in names))
        for step_s in STEPS_S:
            frames = {name: frame_labels(record, step_s) for name, record in zip(names, clips, strict=True)}
            with replacing(labels_path(root, split, step_s)) as temporary, temporary.open("wb") as file:
                np.save(file, np.array(frames, dtype=object), allow_pickle=True)
    return [protocol_path(root, split) for split in by_split]


def frame_labels(record: VideoRecord, step_s: float) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """Return '0' for each frame with any forged part, '1' for the others: (T,); the last frame may reach past the end.

    >>> frame_labels(VideoRecord("a.wav", "dev", 1.0, audio_segments=((0.3, 0.5),)), 0.2).tolist()
    ['1', '0', '0', '1', '1']
    """
    rounding = 1e-6
    count = int(np.ceil((record.duration_s or 0) / step_s - rounding))
    labels = np.full(count, BONAFIDE)
    for start_s, end_s in merge_touching(record.audio_segments):
        labels[int(start_s / step_s + rounding) : int(np.ceil(end_s / step_s - rounding))] = SPOOF
    return labels
