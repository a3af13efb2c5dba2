"""`RecordTable`: the records of a dataset as columns, so that a million clips fit; a record is made when it is looked at.

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

CLAMP_TOLERANCE_S = 0.041  # a frame: a stream may end that much before the other


@dataclass(frozen=True, slots=True)
class RecordTable(Sequence[VideoRecord]):
    """Records as columns.

    Attributes:
        files: names, relative to the dataset's folder.
        split: of each clip.
        duration_s: seconds as the metadata say, NaN where they do not: (V,).
        segments: by modality, fake segments in seconds.
        labelled: false where the labels are hidden: (V,).
        attributes: what else the dataset says, by name; "" where it does not.
        repaired: how often each fault of the metadata was mended, by its name.
    """

    files: StringArray
    split: CategoricalColumn
    duration_s: npt.NDArray[np.float64]
    segments: Mapping[str, RaggedIntervals]
    labelled: Mask
    attributes: Mapping[str, CategoricalColumn] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)

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
        attributes = tuple((name, column[row]) for name, column in self.attributes.items() if column[row])
        return VideoRecord(
            file,
            self.split[row],
            None if np.isnan(duration) else duration,
            audio,
            visual,
            bool(self.labelled[row]),
            attributes,
        )

    def __iter__(self) -> Iterator[VideoRecord]:
        return (self[k] for k in range(len(self)))

    def take(self, index: Int | Mask) -> RecordTable:
        """Some of the clips."""
        rows: Int = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return RecordTable(
            self.files.take(rows), self.split.take(rows), self.duration_s[rows],
            {m: ragged.take(rows) for m, ragged in self.segments.items()}, self.labelled[rows],
            {name: column.take(rows) for name, column in self.attributes.items()}, self.repaired,
        )  # fmt: skip

    def modality(self) -> CategoricalColumn:
        """`real`, `audio`, `visual` or `both` of each clip."""
        audio, visual = (self.segments[m].counts() > 0 for m in MODALITIES)
        return CategoricalColumn((audio + 2 * visual).astype(np.int32), ["real", "audio", "visual", "both"])

    def clamped(self, ends_s: npt.NDArray[np.float64]) -> tuple[RecordTable, int]:
        """The same clips with their segments cut to [0, end], and how many (of all modalities) that changed.

        Segments that lie behind the end altogether are left out.
        """
        segments, count = {}, 0
        for modality, ragged in self.segments.items():
            ends = np.repeat(ends_s, ragged.counts())
            values = np.clip(ragged.values, 0, ends[:, None])
            changed = (np.abs(values - ragged.values) > CLAMP_TOLERANCE_S).any(axis=1)
            values[~changed] = ragged.values[~changed]
            count += int(changed.sum())
            kept = np.concatenate([[0], np.cumsum(~changed | (values[:, 1] > values[:, 0]))])
            segments[modality] = RaggedIntervals(values[np.diff(kept) > 0], kept[ragged.offsets].astype(np.int64))
        return (replace(self, segments=segments) if count else self), count

    def with_segments_of(self, index: Int) -> RecordTable:
        """The same clips with the segments of others: for controls that must not learn anything."""
        segments = {m: ragged.take(index) for m, ragged in self.segments.items()}
        return replace(self, segments=segments)


class TableBuilder:
    """Collects records into columns."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._split: list[str] = []
        self._duration = array("d")
        self._values = {m: array("d") for m in MODALITIES}
        self._counts = {m: array("q") for m in MODALITIES}
        self._labelled = array("b")
        self._attributes: dict[str, tuple[dict[str, int], array[int]]] = {}
        self.repaired: Counter[str] = Counter()

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
        """Append a clip; arguments as the fields of `VideoRecord`."""
        self._files.append(file)
        self._split.append(split)
        self._duration.append(float("nan") if duration_s is None else duration_s)
        for modality, pairs in zip(MODALITIES, (audio, visual), strict=True):
            count = 0
            for start, end in pairs:
                self._values[modality].extend((start, end))
                count += 1
            self._counts[modality].append(count)
        self._labelled.append(labelled)
        for name, value in (attributes or {}).items():
            if name not in self._attributes:  # unsaid so far
                self._attributes[name] = ({"": 0}, array("i", [0] * (len(self._files) - 1)))
            known, codes = self._attributes[name]
            codes.extend([0] * (len(self._files) - 1 - len(codes)))
            codes.append(known.setdefault(value, len(known)))

    def build(self) -> RecordTable:
        """The table."""
        count = len(self._files)
        segments = {
            m: RaggedIntervals(
                np.array(self._values[m], dtype=np.float64).reshape(-1, 2),
                np.concatenate([[0], np.cumsum(np.array(self._counts[m], dtype=np.int64))]).astype(np.int64),
            )
            for m in MODALITIES
        }
        attributes = {}
        for name, (known, codes) in self._attributes.items():
            codes.extend([0] * (count - len(codes)))
            attributes[name] = CategoricalColumn(np.array(codes, dtype=np.int32), list(known))
        return RecordTable(
            StringArray.of(self._files), CategoricalColumn.of(self._split), np.array(self._duration, dtype=np.float64), segments,
            np.array(self._labelled, dtype=bool), attributes, dict(self.repaired),
        )  # fmt: skip


def as_table(records: Sequence[VideoRecord]) -> RecordTable:
    """Records as a table."""
    return records if isinstance(records, RecordTable) else joined([records])


def joined(tables: Sequence[Sequence[VideoRecord]]) -> RecordTable:
    """The clips of several tables or lists, one after the other."""
    if len(tables) == 1 and isinstance(tables[0], RecordTable):
        return tables[0]
    builder = TableBuilder()
    for table in tables:
        builder.repaired.update(getattr(table, "repaired", {}))
        for record in table:
            builder.add(
                record.file, record.split, duration_s=record.duration_s, audio=record.audio_segments,
                visual=record.visual_segments, labelled=record.labelled, attributes=dict(record.attributes),
            )  # fmt: skip
    return builder.build()


def to_arrays(table: RecordTable) -> dict[str, npt.NDArray[Any]]:
    """The table as plain arrays, for a file."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "files.data": table.files.data, "files.offsets": table.files.offsets, "duration_s": table.duration_s,
        "labelled": table.labelled,
    }  # fmt: skip
    for modality, ragged in table.segments.items():
        arrays[f"segments.{modality}.values"], arrays[f"segments.{modality}.offsets"] = ragged.values, ragged.offsets
    for name, column in {"split": table.split, **{f"attributes.{k}": c for k, c in table.attributes.items()}}.items():
        names = StringArray.of(column.names)
        arrays[f"{name}.codes"], arrays[f"{name}.data"], arrays[f"{name}.offsets"] = (
            column.codes,
            names.data,
            names.offsets,
        )
    repaired = StringArray.of(table.repaired)
    arrays["repaired.data"], arrays["repaired.offsets"] = repaired.data, repaired.offsets
    arrays["repaired.counts"] = np.array(list(table.repaired.values()), dtype=np.int64)
    return arrays


def from_arrays(read: Callable[[str], npt.NDArray[Any]], names: Iterable[str]) -> RecordTable:
    """The inverse of `to_arrays`.

    Args:
        read: gives an array by name.
        names: of all arrays there are.
    """

    def column(name: str) -> CategoricalColumn:
        return CategoricalColumn(
            read(f"{name}.codes"), list(StringArray(read(f"{name}.data"), read(f"{name}.offsets")))
        )

    own = [
        name.removeprefix("attributes.").removesuffix(".codes")
        for name in names
        if name.startswith("attributes.") and name.endswith(".codes")
    ]
    return RecordTable(
        StringArray(read("files.data"), read("files.offsets")),
        column("split"),
        read("duration_s"),
        {m: RaggedIntervals(read(f"segments.{m}.values"), read(f"segments.{m}.offsets")) for m in MODALITIES},
        read("labelled"),
        {name: column(f"attributes.{name}") for name in own},
        dict(
            zip(
                StringArray(read("repaired.data"), read("repaired.offsets")),
                read("repaired.counts").tolist(),
                strict=True,
            )
        ),
    )
