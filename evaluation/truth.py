"""Metadata > the labelled clips as columns: segments, and what the tables are broken down by.

Straight from the datasets' own files; only `file` and the list of fake segments are needed. A clip costs its name and
some tens of bytes, so a million clips fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.evaluation.matching import Int, Labels, Mask
from avloc.io.files import read_lines
from avloc.io.jsonstream import Members, kind_of, read_pieces

MODALITY_OF_TYPE = {
    "real": "real", "audio_modified": "audio", "visual_modified": "visual", "both_modified": "both",
    "both-modified": "both",
}  # fmt: skip
MODALITY_OF_FLAGS = {(False, False): "real", (True, False): "audio", (False, True): "visual", (True, True): "both"}
GENERATORS = ("audio_model", "video_model")
DURATIONS = (("duration", 1.0), ("video_frames", DEFAULT_FPS), ("audio_frames", float(DEFAULT_SAMPLE_RATE)))


@dataclass(frozen=True, slots=True)
class Truth:
    """The labelled clips of a metadata file.

    Attributes:
        files: their names (V).
        labels: their fake segments.
        modality: `real`, `audio`, `visual`, `both`, or "" where the metadata do not say.
        generators: by field, the model that made the forgery: `audio_model`, `video_model`, where there.
        duration_s: seconds, from `duration`, else the frames or samples; NaN where none is there: (V,).
        source: a number for each original video: a fake and its original share it: (V,).
    """

    files: list[str]
    labels: Labels
    modality: CategoricalColumn
    generators: Mapping[str, CategoricalColumn]
    duration_s: npt.NDArray[np.float64]
    source: Int

    def __len__(self) -> int:
        return len(self.files)

    def segments(self, clip: int) -> npt.NDArray[np.floating]:
        """The fake segments of a clip: (n, 2) seconds."""
        return self.labels.segments[self.labels.offsets[clip] : self.labels.offsets[clip + 1]]

    def chosen(self, mask: Mask) -> Truth:
        """Some of the clips."""
        index = np.flatnonzero(mask)
        counts = np.diff(self.labels.offsets)
        labels = Labels(
            self.labels.segments[np.repeat(mask, counts)],
            np.concatenate([[0], np.cumsum(counts[index])]).astype(np.int64),
        )
        files = [self.files[k] for k in index.tolist()]

        def part(column: CategoricalColumn) -> CategoricalColumn:
            return CategoricalColumn(column.codes[index], column.names)

        generators = {name: part(column) for name, column in self.generators.items()}
        return Truth(files, labels, part(self.modality), generators, self.duration_s[index], self.source[index])


def read_truth(path: Path, segments_field: str, split: str | None = None, *, details: bool = True) -> Truth:
    """The labelled clips of a dataset's own metadata: a JSON list of objects.

    Args:
        path: the metadata file.
        segments_field: the field with the list of [start, end] in seconds.
        split: only the clips of this split, where the metadata say (LAV-DF's hold all three).
        details: whether to read generators, durations and sources too, which takes twice as long; else there are no
            generators, the durations are NaN, and each clip is a source of its own.

    Raises:
        AvlocError: if the file is not as it should be; says where.
    """
    collector = _Collector(path, segments_field, split, details)
    read_pieces(path, "array", fast=collector.fast, slow=collector.slow, what="metadata file")
    return collector.result()


@dataclass(slots=True)
class _Collector:
    path: Path
    segments_field: str
    split: str | None
    details: bool
    entries: int = 0
    files: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    segments: list[npt.NDArray[np.float64]] = field(default_factory=list)
    modality: list[str] = field(default_factory=list)
    generators: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in GENERATORS})
    duration_s: list[float] = field(default_factory=list)
    source: list[str] = field(default_factory=list)

    def fast(self, parsed: Any, _: bytes) -> bool:
        """A piece in which every entry is usual; anything else is left to `slow`."""
        try:
            entries = [e for e in parsed if self.split is None or e.get("split", self.split) == self.split]
            files = [e["file"] for e in entries]
            lists = [e[self.segments_field].as_list() for e in entries]
            segments = np.array([pair for pairs in lists for pair in pairs])
        except (TypeError, AttributeError, KeyError, ValueError):
            return False
        if segments.size and (segments.dtype.kind not in "if" or segments.ndim != 2 or segments.shape[1] != 2):
            return False
        if any(type(file) is not str for file in files) or (segments.size and (segments[:, 1] < segments[:, 0]).any()):
            return False
        self.entries += len(parsed)
        self._add(entries, files, [len(pairs) for pairs in lists], segments)
        return True

    def slow(self, value: Any) -> None:
        if isinstance(value, Members) or not isinstance(value, list):
            raise AvlocError(f"{self.path}: want a list of clips, got {kind_of(value)}")
        for entry in value:
            number, self.entries = self.entries, self.entries + 1
            if not isinstance(entry, Members):
                raise AvlocError(f"{self.path}: entry {number} is not an object but {kind_of(entry)}")
            known = dict(entry)
            if self.split is not None and known.get("split", self.split) != self.split:
                continue
            file = self._field(known, "file", str, number)
            segments = self._segments(known, number)
            self._add([known], [file], [len(segments)], segments)

    def _field(self, entry: Mapping[str, Any], name: str, kind: type, number: int) -> Any:
        if name not in entry:
            raise AvlocError(f"{self.path}: entry {number} has no field {name!r}, it has: {', '.join(entry) or 'none'}")
        if not isinstance(entry[name], kind) or isinstance(entry[name], Members):
            raise AvlocError(f"{self.path}: entry {number}: {name} is {entry[name]!r}, want a {kind.__name__}")
        return entry[name]

    def _segments(self, entry: Mapping[str, Any], number: int) -> npt.NDArray[np.float64]:
        pairs = self._field(entry, self.segments_field, list, number)
        for k, pair in enumerate(pairs):
            fits = isinstance(pair, list) and len(pair) == 2 and all(type(x) in (int, float) for x in pair)
            if not fits or not -np.inf < pair[0] <= pair[1] < np.inf:
                raise AvlocError(
                    f"{self.path}: entry {number}: {self.segments_field}: segment {k} is {pair!r}, want [start, end] "
                    "in seconds"
                )
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)

    def _add(self, entries: list[Any], files: list[str], counts: list[int], segments: npt.NDArray[np.float64]) -> None:
        self.files += files
        self.counts += counts
        self.segments.append(segments.reshape(-1, 2).astype(np.float64))
        kinds = [entry.get("modify_type") for entry in entries]
        if not any(kinds):
            flags = [(entry.get("modify_audio"), entry.get("modify_video")) for entry in entries]
            self.modality += [MODALITY_OF_FLAGS[a, v] if type(a) is type(v) is bool else "" for a, v in flags]
        else:
            self.modality += [MODALITY_OF_TYPE.get(str(kind), "") for kind in kinds]
        if not self.details:
            return
        for entry, file in zip(entries, files, strict=True):
            original = entry.get("original")
            self.source.append(original if type(original) is str and original else file)
            self.duration_s.append(_duration(entry))
            for name in GENERATORS:
                model = entry.get(name)
                self.generators[name].append(model if type(model) is str else "")

    def result(self) -> Truth:
        path = self.path
        if not self.files:
            raise AvlocError(f"{path}: no clips" + (f" of the split {self.split}" if self.split else ""))
        seen: set[str] = set()
        for file in self.files if len(set(self.files)) < len(self.files) else ():
            if file in seen:
                raise AvlocError(f"{path}: the clip {file} is there twice")
            seen.add(file)
        labels = Labels(
            np.concatenate([np.zeros((0, 2)), *self.segments]),
            np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64),
        )
        generators = {name: CategoricalColumn.of(values) for name, values in self.generators.items() if any(values)}
        duration_s = np.array(self.duration_s) if self.details else np.full(len(self.files), np.nan)
        source = (
            CategoricalColumn.of(self.source).codes.astype(np.int64) if self.details else np.arange(len(self.files))
        )
        return Truth(self.files, labels, CategoricalColumn.of(self.modality), generators, duration_s, source)


def _duration(entry: Any) -> float:
    for name, rate in DURATIONS:
        value = entry.get(name)
        if type(value) in (int, float) and value > 0:
            return float(value) / rate
    return float("nan")


def read_file_list(path: Path) -> list[str]:
    """The names of a list such as `test_files.txt`: one a line, empty lines left out.

    Raises:
        AvlocError: if it cannot be read, is empty, or holds a name twice.
    """
    files = read_lines(path, "list of files")
    if not files:
        raise AvlocError(f"{path}: the list of files is empty")
    if len(set(files)) < len(files):
        seen: set[str] = set()
        twice = next(f for f in files if f in seen or seen.add(f))  # type: ignore[func-returns-value]
        raise AvlocError(f"{path}: {twice} is there twice")
    return files
