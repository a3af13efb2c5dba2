"""`RecordTable`: the records of a dataset as columns, so that a million clips fit in memory; rows become records on access.

Legend: V clips, N segments.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn, Int, Mask, RaggedIntervals, StringArray
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment

CLAMP_TOLERANCE_S = 0.041  # a frame: one stream may end that much before the other


@dataclass(frozen=True, slots=True, repr=False)
class RecordTable(Sequence[VideoRecord]):
    """The records of a dataset as columns; a sequence of `VideoRecord`.

    Attributes:
        files: names relative to the dataset's folder.
        split: the split of each clip.
        duration_s: seconds by the metadata, NaN if unknown: (V,).
        segments: modality → fake segments in seconds.
        labelled: false for hidden labels: (V,).
        attributes: name → any other field of the metadata; "" for a clip without it.
        repaired: fault of the metadata → number of repairs.

    >>> table = as_table([VideoRecord("a.mp4", "train"), VideoRecord("b.mp4", "dev", audio_segments=(Segment(1, 2),))])
    >>> table[1].file, table.modality()[1], len(table.take(table.split.isin("train")))
    ('b.mp4', 'audio', 1)
    """

    files: StringArray
    split: CategoricalColumn
    duration_s: npt.NDArray[np.float64]
    segments: Mapping[str, RaggedIntervals]
    labelled: Mask
    attributes: Mapping[str, CategoricalColumn] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        splits = ", ".join(self.split.names)
        return f"RecordTable({len(self)} clips of {splits or 'no split'})"

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, row: int) -> VideoRecord: ...
    @overload
    def __getitem__(self, row: slice) -> list[VideoRecord]: ...
    def __getitem__(self, row: int | slice) -> VideoRecord | list[VideoRecord]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        file = self.files[row]
        row %= len(self)
        duration = float(self.duration_s[row])
        audio, visual = (tuple(Segment(*pair) for pair in self.segments[m][row].tolist()) for m in MODALITIES)
        return VideoRecord(
            file,
            self.split[row],
            None if np.isnan(duration) else duration,
            audio,
            visual,
            bool(self.labelled[row]),
            tuple((name, column[row]) for name, column in self.attributes.items() if column[row]),
        )

    def __iter__(self) -> Iterator[VideoRecord]:
        return (self[k] for k in range(len(self)))

    def take(self, index: Int | Mask) -> RecordTable:
        """Return the clips at these rows, or under this mask."""
        rows: Int = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return RecordTable(
            self.files.take(rows),
            self.split.take(rows),
            self.duration_s[rows],
            {modality: intervals.take(rows) for modality, intervals in self.segments.items()},
            self.labelled[rows],
            {name: column.take(rows) for name, column in self.attributes.items()},
            self.repaired,
        )

    def modality(self) -> CategoricalColumn:
        """Return `real`, `audio`, `visual` or `both` for each clip."""
        audio, visual = (self.segments[m].counts() > 0 for m in MODALITIES)
        return CategoricalColumn((audio + 2 * visual).astype(np.int32), ["real", "audio", "visual", "both"])

    def clamped(self, ends_s: npt.NDArray[np.float64]) -> tuple[RecordTable, int]:
        """Return the table with its segments cut to [0, end], and the number of changed segments of all modalities.

        Segments that lie wholly behind the end are removed. A segment that overshoots by at most `CLAMP_TOLERANCE_S`
        stays unchanged.

        Args:
            ends_s: the end of each clip in seconds: (V,).
        """
        segments, count = {}, 0
        for modality, intervals in self.segments.items():
            ends = np.repeat(ends_s, intervals.counts())
            values = np.clip(intervals.values, 0, ends[:, None])
            changed = (np.abs(values - intervals.values) > CLAMP_TOLERANCE_S).any(axis=1)
            values[~changed] = intervals.values[~changed]
            count += int(changed.sum())
            kept = np.concatenate([[0], np.cumsum(~changed | (values[:, 1] > values[:, 0]))])
            segments[modality] = RaggedIntervals(values[np.diff(kept) > 0], kept[intervals.offsets].astype(np.int64))
        return (replace(self, segments=segments) if count else self), count

    def restricted_to(self, modality: str) -> RecordTable:
        """Return the table with the segments of one modality only: a clip that is forged in the other one counts as real."""
        empty = RaggedIntervals(np.zeros((0, 2)), np.zeros(len(self) + 1, dtype=np.int64))
        return replace(self, segments={m: v if m == modality else empty for m, v in self.segments.items()})

    def with_permuted_segments(self, order: Int) -> RecordTable:
        """Return the table with the segments of clip `order[k]` at clip k: a control with nothing to learn."""
        return replace(self, segments={m: intervals.take(order) for m, intervals in self.segments.items()})


class TableBuilder:
    """Collects records into columns, without a Python object per clip.

    Attributes:
        repaired: fault of the metadata → number of repairs, for `RecordTable.repaired`.

    >>> builder = TableBuilder()
    >>> builder.add("a.mp4", "train", duration_s=4.0, visual=[(1.0, 1.5)])
    >>> builder.build()[0].visual_segments
    (Segment(start_s=1.0, end_s=1.5),)
    """

    def __init__(self) -> None:
        self.repaired: Counter[str] = Counter()
        self._files: list[str] = []
        self._splits: list[str] = []
        self._durations = array("d")
        self._times = {m: array("d") for m in MODALITIES}
        self._counts = {m: array("q") for m in MODALITIES}
        self._labelled = array("b")
        self._attributes: dict[str, _AttributeColumn] = {}

    def add(
        self,
        file: str,
        split: str,
        *,
        duration_s: float | None = None,
        audio: Iterable[tuple[float, float]] = (),
        visual: Iterable[tuple[float, float]] = (),
        labelled: bool = True,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Append a clip; the arguments are the fields of `VideoRecord`, segments as pairs in seconds."""
        row = len(self._files)
        self._files.append(file)
        self._splits.append(split)
        self._durations.append(float("nan") if duration_s is None else duration_s)
        for modality, pairs in zip(MODALITIES, (audio, visual), strict=True):
            count = 0
            for start, end in pairs:
                self._times[modality].extend((start, end))
                count += 1
            self._counts[modality].append(count)
        self._labelled.append(labelled)
        for name, value in (attributes or {}).items():
            if name not in self._attributes:
                self._attributes[name] = _AttributeColumn()
            self._attributes[name].set(row, value)

    def build(self) -> RecordTable:
        """Return the table of all clips added."""
        return RecordTable(
            StringArray.from_strings(self._files),
            CategoricalColumn.from_strings(self._splits),
            np.array(self._durations, dtype=np.float64),
            {modality: self._intervals(modality) for modality in MODALITIES},
            np.array(self._labelled, dtype=bool),
            {name: column.build(len(self._files)) for name, column in self._attributes.items()},
            dict(self.repaired),
        )

    def _intervals(self, modality: str) -> RaggedIntervals:
        values = np.array(self._times[modality], dtype=np.float64).reshape(-1, 2)
        ends = np.cumsum(np.array(self._counts[modality], dtype=np.int64))
        return RaggedIntervals(values, np.concatenate([[0], ends]).astype(np.int64))


class _AttributeColumn:
    """A column under construction; rows that are skipped hold ""."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.code_by_value = {"": 0}

    def set(self, row: int, value: str) -> None:
        if row > len(self.codes):
            self.codes.extend([0] * (row - len(self.codes)))
        self.codes.append(self.code_by_value.setdefault(value, len(self.code_by_value)))

    def build(self, rows: int) -> CategoricalColumn:
        codes = np.zeros(rows, dtype=np.int32)
        codes[: len(self.codes)] = self.codes
        return CategoricalColumn(codes, list(self.code_by_value))


def as_table(records: Sequence[VideoRecord]) -> RecordTable:
    """Return records as a table; a table is returned unchanged."""
    return records if isinstance(records, RecordTable) else concatenate([records])


def concatenate(tables: Sequence[Sequence[VideoRecord]]) -> RecordTable:
    """Join the clips of several tables or lists into one table; repairs are summed."""
    if len(tables) == 1 and isinstance(tables[0], RecordTable):
        return tables[0]
    builder = TableBuilder()
    for table in tables:
        builder.repaired.update(getattr(table, "repaired", {}))
        for record in table:
            builder.add(
                record.file,
                record.split,
                duration_s=record.duration_s,
                audio=record.audio_segments,
                visual=record.visual_segments,
                labelled=record.labelled,
                attributes=dict(record.attributes),
            )
    return builder.build()


def to_arrays(table: RecordTable) -> dict[str, npt.NDArray[Any]]:
    """Return the table as plain arrays by name, for a file."""
    arrays: dict[str, npt.NDArray[Any]] = {"duration_s": table.duration_s, "labelled": table.labelled}
    _put_strings(arrays, "files", table.files)
    for modality, intervals in table.segments.items():
        arrays[f"segments.{modality}.values"] = intervals.values
        arrays[f"segments.{modality}.offsets"] = intervals.offsets
    for name, column in {"split": table.split, **{f"attributes.{k}": c for k, c in table.attributes.items()}}.items():
        arrays[f"{name}.codes"] = column.codes
        _put_strings(arrays, name, StringArray.from_strings(column.names))
    _put_strings(arrays, "repaired", StringArray.from_strings(table.repaired))
    arrays["repaired.counts"] = np.array(list(table.repaired.values()), dtype=np.int64)
    return arrays


def _put_strings(arrays: dict[str, npt.NDArray[Any]], name: str, strings: StringArray) -> None:
    arrays[f"{name}.data"], arrays[f"{name}.offsets"] = strings.data, strings.offsets


def from_arrays(read: Callable[[str], npt.NDArray[Any]], names: Iterable[str]) -> RecordTable:
    """Return the table of `to_arrays`' arrays.

    Args:
        read: returns an array by name.
        names: the names of all arrays.
    """

    def strings(name: str) -> StringArray:
        return StringArray(read(f"{name}.data"), read(f"{name}.offsets"))

    def column(name: str) -> CategoricalColumn:
        return CategoricalColumn(read(f"{name}.codes"), list(strings(name)))

    prefix, suffix = "attributes.", ".codes"
    attributes = [n[len(prefix) : -len(suffix)] for n in names if n.startswith(prefix) and n.endswith(suffix)]
    return RecordTable(
        strings("files"),
        column("split"),
        read("duration_s"),
        {m: RaggedIntervals(read(f"segments.{m}.values"), read(f"segments.{m}.offsets")) for m in MODALITIES},
        read("labelled"),
        {name: column(f"{prefix}{name}") for name in attributes},
        dict(zip(strings("repaired"), read("repaired.counts").tolist(), strict=True)),
    )
