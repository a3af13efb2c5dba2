"""Metadata > labelled clips as columns: fake segments, and the attributes that tables are broken down by.

Read straight from the datasets' own files; only `file` and the list of fake segments are required. A clip costs its name
and some tens of bytes, so a million clips fit in memory.

Legend: V clips, n fake segments of one clip.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.core.records import split_names
from avloc.core.suggestions import did_you_mean
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.evaluation.matching import MAX_NUMBER, BoolArray, IntArray, Labels
from avloc.evaluation.protocols import PROTOCOLS
from avloc.io.files import read_json, read_lines
from avloc.io.jsonstream import Members, json_type, read_pieces

MODALITY_OF_TYPE = {
    "real": "real",
    "audio_modified": "audio",
    "visual_modified": "visual",
    "both_modified": "both",
    "both-modified": "both",
}
MODALITY_OF_FLAGS = {(False, False): "real", (True, False): "audio", (False, True): "visual", (True, True): "both"}
GENERATORS = ("audio_model", "video_model")
NO_SPLIT = ""
"""The split of an entry without one."""
DURATIONS = (("duration", 1.0), ("audio_frames", float(DEFAULT_SAMPLE_RATE)), ("video_frames", DEFAULT_FPS))


@dataclass(frozen=True, slots=True, repr=False)
class Truth:
    """Labelled clips, one column per attribute.

    Attributes:
        files: names of the clips (V).
        labels: their fake segments.
        modality: `real`, `audio`, `visual`, `both`, or "" if the metadata do not say.
        generators: for each of the metadata's fields `audio_model` and `video_model` that has values, the model that made
            each forgery.
        duration_s: seconds, from `duration`, else from the number of samples or, at 25 fps, of frames; NaN if unknown: (V,).
        source: index of the original video, shared by a fake and its original: (V,).

    >>> truth = Truth.from_dict({"a.mp4": [[1.0, 1.5]], "b.mp4": []})
    >>> truth.files, truth.segments(0).tolist()
    (['a.mp4', 'b.mp4'], [[1.0, 1.5]])
    """

    files: list[str]
    labels: Labels
    modality: CategoricalColumn
    generators: Mapping[str, CategoricalColumn]
    duration_s: npt.NDArray[np.float64]
    source: IntArray

    def __repr__(self) -> str:
        return f"Truth({len(self)} clips, {self.labels.offsets[-1]} segments)"

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def from_dict(cls, segments: Mapping[str, npt.ArrayLike]) -> Truth:
        """Build from the fake segments of each clip: lists or arrays (n, 2) of start, end in seconds; `[]` for a real clip.

        Modalities, generators and durations are unknown, and each clip is its own source.

        Raises:
            AvlocError: if the mapping is empty, or a segment is not two finite numbers with start ≤ end; names the clip.
        """
        if not segments:
            raise AvlocError("truth: no clips")
        arrays = [_check_segments(file, value) for file, value in segments.items()]
        modality = CategoricalColumn.from_strings([""] * len(arrays))
        unknown_s = np.full(len(arrays), np.nan)
        return cls(list(segments), Labels.from_clips(arrays), modality, {}, unknown_s, np.arange(len(arrays)))

    def segments(self, clip: int) -> npt.NDArray[np.floating]:
        """Return the fake segments of a clip: (n, 2) seconds."""
        return self.labels.segments[self.labels.offsets[clip] : self.labels.offsets[clip + 1]]

    def select(self, mask: BoolArray) -> Truth:
        """Select clips by a mask (V,)."""
        index = np.flatnonzero(mask)
        counts = np.diff(self.labels.offsets)
        labels = Labels(
            self.labels.segments[np.repeat(mask, counts)],
            np.concatenate([[0], np.cumsum(counts[index])]).astype(np.int64),
        )
        files = [self.files[k] for k in index.tolist()]
        generators = {name: column.take(index) for name, column in self.generators.items()}
        return Truth(files, labels, self.modality.take(index), generators, self.duration_s[index], self.source[index])


def _check_segments(file: object, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert the fake segments of a clip from memory."""
    if not isinstance(file, str):
        raise AvlocError(f"truth: want clip names as keys, got {file!r}")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # segments of unequal length
        raise AvlocError(f"truth: {file}: want (n, 2) numbers, start and end in seconds ({error})") from error
    if array.shape == (0,):
        return np.zeros((0, 2))
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != 2:
        raise AvlocError(
            f"truth: {file}: want (n, 2) numbers, start and end in seconds, got shape {array.shape} of {array.dtype}"
        )
    is_valid = (np.abs(array) <= MAX_NUMBER).all(axis=1) & (array[:, 0] <= array[:, 1])
    if not is_valid.all():
        k = int(np.argmin(is_valid))
        raise AvlocError(f"truth: {file}: segment {k} is {array[k].tolist()}, want [start, end] in seconds")
    return array.astype(np.float64)


def read_truth(
    path: str | os.PathLike[str], segments_field: str, split: str | None = None, *, details: bool = True
) -> Truth:
    """Read the labelled clips of a dataset's own metadata, a JSON list of objects.

    Args:
        path: the metadata file; `~` is expanded.
        segments_field: the field with the list of [start, end] in seconds.
        split: keep only the clips of this split, if the metadata have splits (LAV-DF's hold all three); without any splits,
            every clip belongs to every split. `val` and `dev` are one, unless the metadata have both.
        details: also read generators and sources, which takes longer. Without them, `generators` is empty, and each clip is
            its own source.

    Raises:
        AvlocError: if the file is malformed, or no clips are left; or, with `split`, if some clips have a split and others have
            none, or a clip of this split is in another one too. Names the entry or the clip.
    """
    path = Path(path).expanduser()
    collector = _EntryCollector(path, segments_field, split, details)
    read_pieces(
        path, "array", simdjson_parser=collector.add_simdjson, python_parser=collector.add_python, what="metadata file"
    )
    return collector.result()


@dataclass(frozen=True, slots=True)
class _Entries:
    """Entries of one piece of a metadata file, and their optional fields.

    Attributes:
        entries: the objects, of Python or of simdjson.
        text: the piece, which tells fields that no entry has: to ask simdjson for a missing one takes ten times as long as for
            another. None: not known.
    """

    entries: Sequence[Any]
    text: bytes | None = None

    def column(self, name: str) -> list[Any]:
        """Return a field of each entry, None if missing."""
        if self.text is not None and b'"%s"' % name.encode() not in self.text and b"\\" not in self.text:
            return [None] * len(self.entries)
        return [entry.get(name) for entry in self.entries]

    def durations_s(self) -> list[float]:
        """Read the seconds of each clip from the first usable field of `DURATIONS`; NaN without one."""
        durations_s = [float("nan")] * len(self.entries)
        for name, rate in reversed(DURATIONS):
            for k, value in enumerate(self.column(name)):
                if type(value) in (int, float) and value > 0:
                    durations_s[k] = float(value) / rate
        return durations_s


@dataclass(slots=True)
class _EntryCollector:
    """Checks and collects the entries of a metadata file.

    Attributes:
        splits: split of each collected entry, if a split is asked for.
        other_splits: split of each clip that is left out, by its file.
    """

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
    splits: list[str] = field(default_factory=list)
    other_splits: dict[str, str] = field(default_factory=dict)

    def add_simdjson(self, parsed: Any, text: bytes) -> bool:
        """Add a piece in which every entry has the usual form; leave others to `add_python`."""
        try:
            entries, splits, other_splits = self._select(_Entries(parsed, text))
            files = [e["file"] for e in entries]
            lists = [e[self.segments_field].as_list() for e in entries]
            segments = np.array([pair for pairs in lists for pair in pairs])
        except (TypeError, AttributeError, KeyError, ValueError):
            return False
        if segments.size and (segments.dtype.kind not in "if" or segments.ndim != 2 or segments.shape[1] != 2):
            return False
        is_valid = (
            (segments[:, 0] <= segments[:, 1]).all() and np.abs(segments).max() <= MAX_NUMBER if segments.size else True
        )
        if any(type(file) is not str for file in files) or not is_valid:
            return False
        self.entries += len(parsed)
        self.splits += splits
        self.other_splits |= other_splits
        self._add(_Entries(entries, text), files, [len(pairs) for pairs in lists], segments)
        return True

    def add_python(self, value: Any) -> None:
        """Add a piece of Python values, with checks of every entry."""
        if isinstance(value, Members) or not isinstance(value, list):
            raise AvlocError(
                f"{self.path}: want a list of clips, got {json_type(value)}; predictions are named first, metadata second"
            )
        for entry in value:
            number, self.entries = self.entries, self.entries + 1
            if not isinstance(entry, Members):
                raise AvlocError(f"{self.path}: entry {number} is not an object but {json_type(entry)}")
            fields = dict(entry)
            selected, splits, other_splits = self._select(_Entries([fields]))
            self.splits += splits
            self.other_splits |= other_splits
            if not selected:
                continue
            file = self._field(fields, "file", str, number)
            segments = self._segments(fields, number)
            self._add(_Entries([fields]), [file], [len(segments)], segments)

    def _select(self, entries: _Entries) -> tuple[Sequence[Any], list[str], dict[str, str]]:
        """Select the entries of the requested split, and those without one.

        Returns:
            The entries, their splits, and the splits of the others by file.
        """
        if self.split is None:
            return entries.entries, [], {}
        selected: list[Any] = []
        splits: list[str] = []
        other_splits: dict[str, str] = {}
        names = (NO_SPLIT, *split_names(self.split))
        for entry, value in zip(entries.entries, entries.column("split"), strict=True):
            split = NO_SPLIT if value is None else str(value)
            if split in names:
                selected.append(entry)
                splits.append(split)
            else:
                other_splits[str(entry.get("file"))] = split
        return selected, splits, other_splits

    def _field(self, entry: Mapping[str, object], name: str, kind: type, number: int) -> Any:
        if name not in entry:
            fitting = [p.name for p in PROTOCOLS.values() if name == self.segments_field and p.segments_field in entry]
            hint = f"; it fits the protocol {' or '.join(fitting)}" if fitting else ""
            raise AvlocError(
                f"{self.path}: entry {number} has no field {name!r}, it has: {', '.join(entry) or 'none'}{hint}"
            )
        if not isinstance(entry[name], kind) or isinstance(entry[name], Members):
            raise AvlocError(f"{self.path}: entry {number}: {name} is {entry[name]!r}, want a {kind.__name__}")
        return entry[name]

    def _segments(self, entry: Mapping[str, object], number: int) -> npt.NDArray[np.float64]:
        pairs = self._field(entry, self.segments_field, list, number)
        for k, pair in enumerate(pairs):
            fits = isinstance(pair, list) and len(pair) == 2 and all(type(x) in (int, float) for x in pair)
            if not fits or not -MAX_NUMBER <= pair[0] <= pair[1] <= MAX_NUMBER:
                raise AvlocError(
                    f"{self.path}: entry {number}: {self.segments_field}: segment {k} is {pair!r}, want [start, end] "
                    "in seconds"
                )
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)

    def _add(self, entries: _Entries, files: list[str], counts: list[int], segments: npt.NDArray[np.float64]) -> None:
        self.files += files
        self.counts += counts
        self.segments.append(segments.reshape(-1, 2).astype(np.float64))
        kinds = entries.column("modify_type")
        if not any(kinds):
            flags = zip(entries.column("modify_audio"), entries.column("modify_video"), strict=True)
            self.modality += [MODALITY_OF_FLAGS[a, v] if type(a) is type(v) is bool else "" for a, v in flags]
        else:
            self.modality += [MODALITY_OF_TYPE.get(str(kind), "") for kind in kinds]
        self.duration_s += entries.durations_s()
        if not self.details:
            return
        originals = entries.column("original")
        self.source += [
            name if type(name) is str and name else file for name, file in zip(originals, files, strict=True)
        ]
        for name in GENERATORS:
            self.generators[name] += [model if type(model) is str else "" for model in entries.column(name)]

    def _describe_split(self) -> str:
        """Describe the requested split, and those that the metadata have."""
        if self.split is None:
            return ""
        splits = sorted({str(e["split"]) for e in read_json(self.path, "metadata file") if "split" in e})
        existing = f"; it has the splits {', '.join(splits)}" if splits else ""
        return f" of the split {self.split}{did_you_mean(self.split, splits)}{existing}"

    def result(self) -> Truth:
        """Build the columns of all collected entries."""
        path = self.path
        if not self.files:
            raise AvlocError(f"{path}: no clips{self._describe_split()}")
        labels = Labels(
            np.concatenate([np.zeros((0, 2)), *self.segments]),
            np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64),
        )
        generators = {
            name: CategoricalColumn.from_strings(values) for name, values in self.generators.items() if any(values)
        }
        duration_s = np.array(self.duration_s, dtype=np.float64)
        source = source_codes(self.files, self.source) if self.details else np.arange(len(self.files))
        truth = Truth(self.files, labels, CategoricalColumn.from_strings(self.modality), generators, duration_s, source)
        if self.split is not None:
            truth = self._select_split(truth, self.split)
        if (duplicate := _first_duplicate(truth.files)) is not None:
            raise AvlocError(f"{path}: the clip {duplicate} appears twice")
        return truth

    def _select_split(self, truth: Truth, split: str) -> Truth:
        """Select the clips of a split: if the metadata have both `val` and `dev`, those of its own name.

        Raises:
            AvlocError: if only some clips have a split, or a clip has two.
        """
        without = self.splits.count(NO_SPLIT)
        if 0 < without < self.entries:
            raise AvlocError(
                f"{self.path}: {without} of {self.entries} clips have no split, the first is "
                f"{self.files[self.splits.index(NO_SPLIT)]}; for the split {split} each clip needs one, or none has any: give it "
                "its field split, or leave the split out"
            )
        split = split if split in self.splits else self.splits[0]
        is_selected = np.array([name == split for name in self.splits])
        others = self.other_splits | {
            file: name for file, name in zip(self.files, self.splits, strict=True) if name != split
        }
        truth = truth.select(is_selected)
        twice = next((file for file in truth.files if file in others), None)
        if twice is not None:
            raise AvlocError(
                f"{self.path}: the clip {twice} is in the splits {split} and {others[twice]}, want one split for each clip; "
                "remove one of its entries"
            )
        return truth


def source_codes(files: Sequence[str], originals: Sequence[str]) -> IntArray:
    """Return the index of each clip's original video (V,), equal for a fake and its original.

    Args:
        files: names of the clips.
        originals: names of their originals: of a real clip its own. They may lie in the split's folder, which `files` leave out.

    >>> source_codes(["a/real.mp4", "a/fake.mp4", "b.mp4"], ["a/real.mp4", "val/a/real.mp4", "b.mp4"]).tolist()
    [0, 0, 1]
    """
    names = set(files)
    tails = {name: name.partition("/")[2] for name in set(originals) - names}
    same = (tails[name] if tails.get(name) in names else name for name in originals)
    return CategoricalColumn.from_strings(same).codes.astype(np.int64)


def _first_duplicate(names: list[str]) -> str | None:
    if len(set(names)) == len(names):
        return None
    earlier: set[str] = set()
    for name in names:
        if name in earlier:
            break
        earlier.add(name)
    return name


def read_file_list(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of clip names such as `test_files.txt`: one per line; blank lines are skipped.

    Raises:
        AvlocError: if the file cannot be read, is empty or JSON, or repeats a name.
    """
    path = Path(path).expanduser()
    files = read_lines(path, "list of files")
    if not files:
        raise AvlocError(f"{path}: the list of files is empty")
    if path.suffix == ".json" or files[0].startswith(("{", '["', "[{")) or files[0] == "[":
        raise AvlocError(
            f"{path}: is JSON, want a text file with the name of one clip per line, such as test_files.txt"
        )
    if (duplicate := _first_duplicate(files)) is not None:
        raise AvlocError(f"{path}: {duplicate} appears twice")
    return files
