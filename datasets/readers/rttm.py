"""RTTM: a file of labelled stretches per split > records, and back.

The files lie at the dataset's root, and a file's name is its split: `train.rttm`, `dev.rttm`, `test.rttm`. A set with a single
file of another name, as `labels.rttm`, has no splits. Clips lie anywhere under the root; the file names them without folders and
suffix. A genuine clip has a line too, with the label `bonafide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from avloc.core.records import VideoRecord, split_names
from avloc.core.timeline import merge_touching
from avloc.datasets.readers.table import RecordTable, TableBuilder
from avloc.datasets.readers.tabular import NO_SPLIT, SPLITS_OF_ALL, media_files
from avloc.datasets.readers.text_labels import pieces_of_clip
from avloc.errors import AvlocError
from avloc.io.rttm import FAKE, REAL, SUFFIX, RttmRow, read_rttm, write_rttm

SPLIT_NAMES = ("train", "dev", "val", "test", "eval")


class Rttm:
    """The reader of sets whose labels are RTTM files.

    Attributes:
        splits: empty, the files name them.
        validation: `val`, also called `dev`. A set without splits is its own training, validation and test set.
        modalities: `audio` alone.
    """

    splits: ClassVar[tuple[str, ...]] = ()
    validation: ClassVar[str] = "val"
    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    def records(self, root: Path, split: str | None = None) -> RecordTable:
        """Read a split, or all splits in the folder.

        Raises:
            AvlocError: if no file or no such split exists, a line is malformed, or a clip is missing or ambiguous.
        """
        paths = _label_files(root)
        if split is not None and NO_SPLIT not in paths:
            name = next((name for name in split_names(split) if name in paths), None)
            if name is None:
                raise AvlocError(
                    f"{root}: has the splits {', '.join(paths)}, got {split!r}; want a file {split}{SUFFIX}"
                )
            paths = {name: paths[name]}
        elif split not in (None, *SPLITS_OF_ALL):
            raise AvlocError(f"{root}: the clips have no splits, got {split!r}; leave the split out")
        files = _files_by_name(root)
        builder = TableBuilder()
        for name, path in paths.items():
            for clip, rows in read_rttm(path).items():
                fakes = merge_touching((row.start_s, row.end_s) for row in rows if row.is_fake)
                builder.add(_find_file(clip, files, path), name, duration_s=length_s(rows), audio=fakes)
        return builder.build()

    def public_name(self, record: VideoRecord) -> str:
        """Return the clip's name in the RTTM file: the file without folders and suffix."""
        return Path(record.file).stem


def length_s(rows: Sequence[RttmRow]) -> float | None:
    """Return the end of the last row if genuine time is labelled too; None otherwise: then the clip may be longer."""
    return max(row.end_s for row in rows) if any(not row.is_fake for row in rows) else None


def _label_files(root: Path) -> dict[str, Path]:
    """Return the label file of each split."""
    paths = {path.stem: path for path in sorted(root.glob(f"*{SUFFIX}"))}
    if not paths:
        raise AvlocError(
            f"{root}: no RTTM files here, want {', '.join(f'{s}{SUFFIX}' for s in ('train', 'dev', 'test'))}"
        )
    if len(paths) == 1 and not paths.keys() & set(SPLIT_NAMES):
        return {NO_SPLIT: next(iter(paths.values()))}
    return paths


def _files_by_name(root: Path) -> dict[str, list[str]]:
    """Return the clips under the root by their names without folders and suffix."""
    files: dict[str, list[str]] = {}
    for file in sorted(media_files(root)):
        files.setdefault(Path(file).stem, []).append(file)
    return files


def _find_file(clip: str, files: Mapping[str, Sequence[str]], path: Path) -> str:
    candidates = files.get(clip, ())
    if len(candidates) != 1:
        fault = f"may be {candidates[0]} or {candidates[1]}" if candidates else f"is no clip under {path.parent}"
        raise AvlocError(f"{path}: {clip}: {fault}; want one file of that name, with any suffix")
    return candidates[0]


def write(root: Path, records: Iterable[VideoRecord], words: Mapping[str, Sequence[tuple[float, float]]]) -> list[Path]:
    """Write an RTTM file per split of a generated set.

    Args:
        root: the dataset's folder.
        records: the clips of all splits, with known lengths.
        words: not kept by this layout.

    Returns:
        The paths of the files.
    """
    by_split: dict[str, dict[str, list[RttmRow]]] = {}
    for record in records:
        pieces = [RttmRow(a, b, fake, FAKE if fake else REAL) for a, b, fake in pieces_of_clip(record)]
        by_split.setdefault(record.split, {})[Path(record.file).stem] = pieces
    for split, clips in by_split.items():
        write_rttm(root / f"{split}{SUFFIX}", clips)
    return [root / f"{split}{SUFFIX}" for split in by_split]
