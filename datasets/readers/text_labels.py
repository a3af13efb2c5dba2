"""HAD (Half-truth) and LlamaPartialSpoof: one line of text per clip > records, and back.

Yi et al., "Half-Truth: a partially fake audio detection dataset", Interspeech 2021: `name pieces label`, with the pieces
`start-end-T` and `start-end-F` joined by `/`, and a label of 1 for a genuine clip.
Luong et al., "LlamaPartialSpoof: an LLM-driven fake speech dataset simulating disinformation generation", ICASSP 2025:
`name duration label piece piece …`, with pieces `start-end-bonafide` and `start-end-spoof`. The set is made for evaluation: all
of its clips are `test`.

Both are read by one parser: the name first, the clip's label in column 3, numbers and pieces anywhere behind the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, merge_touching
from avloc.datasets.readers.entries import LATEST_S, relative_path
from avloc.datasets.readers.index import cached_table
from avloc.datasets.readers.table import RecordTable, TableBuilder, concatenate
from avloc.errors import AvlocError
from avloc.io.files import numbered_fields, write_text

WHAT = "label file"
SUFFIXES = (".wav", ".flac")
IS_FAKE = {"bonafide": False, "real": False, "genuine": False, "t": False, "spoof": True, "fake": True, "f": True}
CLIP_LABELS = {**IS_FAKE, "1": False, "0": True}
LABEL_COLUMN = 2
TOLERANCE_S = 1e-3  # labels are rounded
_PIECE = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?)-(\d+\.?\d*(?:[eE][+-]?\d+)?)-(\w+)")
_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?")

# Repairs, as `RecordTable.repaired` counts them.
EMPTY = "forged pieces of no length, left out"
OVERLAPPING = "forged pieces that overlap, joined"
PAST_END = "forged pieces past the end of their clip, cut to it"


class LabelLine(NamedTuple):
    """The content of one line.

    Attributes:
        name: the clip, without a suffix.
        duration_s: its length in seconds: as stated, or the end of its last piece.
        segments: its forged pieces; touching ones are joined.
        repairs: the repairs of these pieces.
    """

    name: str
    duration_s: float | None
    segments: list[Segment]
    repairs: list[str]


class HalfTruth:
    """The reader of HAD: `HAD_train/HAD_train_label.txt`, and so for `dev` and `test`.

    Attributes:
        splits: `train`, `dev`, `test`.
        validation: `dev`.
        modalities: `audio` alone.

    >>> HalfTruth().public_name(VideoRecord("HAD_dev/dev/conbine/HAD_dev_fake_00000001.wav", "dev"))
    'HAD_dev_fake_00000001'
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "dev", "test")
    validation: ClassVar[str] = "dev"
    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all splits in the folder.

        Raises:
            AvlocError: if the split is unknown, its labels are missing, or a line is malformed; names the line.
        """
        if split is not None and split not in self.splits:
            raise AvlocError(f"HAD has the splits {', '.join(self.splits)}, got {split!r}")
        splits = [s for s in self.splits if had_labels(root, s).is_file()] if split is None else [split]
        if not splits:
            raise AvlocError(f"{root}: no HAD labels here, want {had_labels(Path(), 'train')}")
        return concatenate([self._read_split(root, name) for name in splits])

    def _read_split(self, root: Path, split: str) -> RecordTable:
        path = had_labels(root, split)
        if not path.is_file():
            raise AvlocError(f"{path}: no such {WHAT}")
        places = _find_clips(root, f"HAD_{split}")
        usual = next(iter(places.values()), had_file("clip", split))
        builder = TableBuilder()
        for line in read_label_lines(path):
            file = places.get(line.name) or str(Path(usual).with_name(f"{line.name}{Path(usual).suffix}"))
            _add_line(builder, line, file, split, {})
        return builder.build()

    def public_name(self, record: VideoRecord) -> str:
        """Return the clip's name in the labels: the file without folders and suffix."""
        return Path(record.file).stem


class LlamaPartialSpoof:
    """The reader of LlamaPartialSpoof: `label_R01TTS.0.a.txt` beside the folder `R01TTS.0.a`, and so for other parts.

    Attributes:
        splits: `test`: the set is made for evaluation.
        validation: empty: none. A training on these clips must name a split.
        modalities: `audio` alone.
    """

    splits: ClassVar[tuple[str, ...]] = ("test",)
    validation: ClassVar[str] = ""
    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read the clips of all parts; the part is an attribute.

        Raises:
            AvlocError: if the split is unknown, no labels exist, or a line is malformed; names the line.
        """
        if split not in (None, *self.splits):
            raise AvlocError(f"LlamaPartialSpoof has the split {self.splits[0]}, got {split!r}")
        paths = sorted(root.glob("label_*.txt"))
        if not paths:
            raise AvlocError(f"{root}: no LlamaPartialSpoof labels here, want {lps_labels(Path(), LPS_PART)}")
        return concatenate([cached_table([path], "llamapartialspoof", partial(_read_part, path)) for path in paths])

    def public_name(self, record: VideoRecord) -> str:
        """Return the clip's name in the labels: the file without folder and suffix."""
        return Path(record.file).stem


def had_labels(root: Path, split: str) -> Path:
    """Return the label file of a split of HAD."""
    return root / f"HAD_{split}" / f"HAD_{split}_label.txt"


def had_file(name: str, split: str) -> str:
    """Return a clip's usual place in HAD."""
    folder = "test" if split == "test" else f"{split}/conbine"  # the spelling of the set
    return f"HAD_{split}/{folder}/{name}.wav"


LPS_PART = "R01TTS.0.a"


def lps_labels(root: Path, part: str) -> Path:
    """Return the label file of a part of LlamaPartialSpoof."""
    return root / f"label_{part}.txt"


def _read_part(path: Path) -> RecordTable:
    part = path.stem.removeprefix("label_")
    builder, suffix = TableBuilder(), None
    for line in read_label_lines(path):
        if suffix is None:
            suffix = next((s for s in SUFFIXES if (path.parent / part / f"{line.name}{s}").is_file()), SUFFIXES[0])
        _add_line(builder, line, f"{part}/{line.name}{suffix}", "test", {"part": part})
    return builder.build()


def _find_clips(root: Path, folder: str) -> dict[str, str]:
    """Return the clips under a folder by their names without folders and suffix."""
    places: dict[str, str] = {}
    for parent, folders, names in os.walk(root / folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(SUFFIXES):
                places.setdefault(Path(name).stem, Path(parent, name).relative_to(root).as_posix())
    return places


def _add_line(builder: TableBuilder, line: LabelLine, file: str, split: str, attributes: Mapping[str, str]) -> None:
    builder.repaired.update(line.repairs)
    builder.add(file, split, duration_s=line.duration_s, audio=line.segments, attributes=attributes)


def read_label_lines(path: Path) -> Iterable[LabelLine]:
    """Read the lines of a label file of either set.

    Raises:
        AvlocError: if a line is malformed or contradicts itself, or repeats a clip; names the line.
    """
    names: set[str] = set()
    for number, fields in numbered_fields(path, WHAT):
        line = _parse_line(fields, path, number)
        if line.name in names:
            raise AvlocError(f"{path}: line {number}: the clip {line.name} is in the file more than once")
        names.add(line.name)
        yield line
    if not names:
        raise AvlocError(f"{path}: no clips")


def _parse_line(fields: Sequence[str], path: Path, number: int) -> LabelLine:
    place = f"{path}: line {number}"
    if len(fields) <= LABEL_COLUMN or fields[LABEL_COLUMN].lower() not in CLIP_LABELS:
        got = fields[LABEL_COLUMN][:40] if len(fields) > LABEL_COLUMN else f"{len(fields)} columns"
        raise AvlocError(f"{place}: want the clip's label in column 3, bonafide or spoof (1 or 0), got {got!r}")
    is_fake = CLIP_LABELS[fields[LABEL_COLUMN].lower()]
    name = next((fields[0].removesuffix(s) for s in SUFFIXES if fields[0].endswith(s)), fields[0])
    name = relative_path(name, path, number)
    duration_s, ends, fakes = None, [0.0], []
    for text in (
        part for k, field in enumerate(fields) if k not in (0, LABEL_COLUMN) for part in field.split("/") if part
    ):
        if _NUMBER.fullmatch(text):
            duration_s = float(text)
            continue
        start_s, end_s, piece_is_fake = _parse_piece(text, place)
        ends.append(end_s)
        if piece_is_fake:
            fakes.append(Segment(start_s, end_s))
    if is_fake and not fakes:
        raise AvlocError(f"{place}: the clip is labelled as forged, but none of its pieces is")
    if fakes and not is_fake:
        raise AvlocError(
            f"{place}: the clip is labelled as genuine, but the piece {fakes[0].start_s:g}-{fakes[0].end_s:g} is forged"
        )
    length_s = duration_s if duration_s is not None else max(ends) or None
    return LabelLine(name, length_s, *_repair(fakes, length_s))


def _parse_piece(text: str, place: str) -> tuple[float, float, bool]:
    match = _PIECE.fullmatch(text)
    if match is None or match[3].lower() not in IS_FAKE:
        form = "start-end-label with the label bonafide or spoof (T or F)"
        raise AvlocError(f"{place}: want a number of seconds or a piece {form}, got {text[:40]!r}")
    start_s, end_s = float(match[1]), float(match[2])
    if not start_s <= end_s < LATEST_S:
        raise AvlocError(f"{place}: the piece {text[:40]} ends before it starts, or is no time in seconds")
    return start_s, end_s, IS_FAKE[match[3].lower()]


def _repair(fakes: list[Segment], end_s: float | None) -> tuple[list[Segment], list[str]]:
    """Join, cut and drop forged pieces; return the rest, and the repairs."""
    repairs = [EMPTY] * sum(s.duration_s == 0 for s in fakes)
    ordered = sorted(s for s in fakes if s.duration_s > 0)
    reached_s = 0.0
    for start_s, segment_end_s in ordered:
        repairs += [OVERLAPPING] * (start_s < reached_s - TOLERANCE_S)
        reached_s = max(reached_s, segment_end_s)
    if end_s is not None:
        late = [s for s in ordered if s.end_s > end_s + TOLERANCE_S]
        repairs += [PAST_END] * len(late)
        ordered = [Segment(s.start_s, min(s.end_s, end_s)) for s in ordered if s.start_s < end_s]
    return merge_touching(ordered), repairs


def write_halftruth(
    root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Path]:
    """Write the labels of a generated set in the layout of HAD.

    Args:
        root: the dataset's folder.
        records: the clips of all splits, with files relative to `root`.
        words: not kept by this layout.

    Returns:
        The paths of the files.
    """
    lines: dict[str, list[str]] = {split: [] for split in HalfTruth.splits}
    for record in records:
        pieces = "/".join(f"{a:.4f}-{b:.4f}-{'F' if is_fake else 'T'}" for a, b, is_fake in pieces_of_clip(record))
        lines[record.split].append(f"{Path(record.file).stem} {pieces} {int(not record.audio_segments)}\n")
    for split, text in lines.items():
        write_text(had_labels(root, split), "".join(text))
    return [had_labels(root, split) for split in lines]


def write_llamapartialspoof(
    root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Path]:
    """Write the labels of a generated set in the layout of LlamaPartialSpoof; arguments as in `write_halftruth`."""
    lines = []
    for record in records:
        pieces = [f"{a:.4f}-{b:.4f}-{'spoof' if is_fake else 'bonafide'}" for a, b, is_fake in pieces_of_clip(record)]
        label = "spoof" if record.audio_segments else "bonafide"
        lines.append(f"{Path(record.file).stem} {record.duration_s:.4f} {label} {' '.join(pieces)}\n")
    write_text(lps_labels(root, LPS_PART), "".join(lines))
    return [lps_labels(root, LPS_PART)]


def pieces_of_clip(record: VideoRecord) -> list[tuple[float, float, bool]]:
    """Cut a clip of known length into genuine and forged pieces: start and end in seconds, and whether it is forged.

    >>> pieces_of_clip(VideoRecord("a.wav", "test", 3.0, audio_segments=(Segment(1.0, 1.5),)))
    [(0.0, 1.0, False), (1.0, 1.5, True), (1.5, 3.0, False)]
    """
    pieces, reached_s, end_s = [], 0.0, float(record.duration_s or 0)
    for start_s, segment_end_s in merge_touching(record.audio_segments):
        if start_s > reached_s:
            pieces.append((reached_s, start_s, False))
        pieces.append((start_s, segment_end_s, True))
        reached_s = segment_end_s
    if end_s > reached_s:
        pieces.append((reached_s, end_s, False))
    return pieces
