"""Columns for millions of clips: strings and lists in flat arrays instead of one Python object each.

Legend: V rows (clips), N intervals.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CategoricalColumn:
    """One of a few strings per row, stored as codes.

    Attributes:
        codes: (V,) index into `names` of each row.
        names: the distinct strings; "" stands for no value.

    >>> column = CategoricalColumn.from_strings(["real", "audio", "real"])
    >>> column[1], column.isin("real").tolist()
    ('audio', [True, False, True])
    """

    codes: npt.NDArray[np.int32]
    names: list[str]

    @classmethod
    def from_strings(cls, values: Iterable[str]) -> CategoricalColumn:
        """Encode one string per row; codes count up in order of first appearance."""
        code_by_name: dict[str, int] = {}
        codes = np.array([code_by_name.setdefault(v, len(code_by_name)) for v in values], dtype=np.int32)
        return cls(codes, list(code_by_name))

    def isin(self, *names: str) -> Mask:
        """Mark the rows that have one of these strings: (V,)."""
        return np.isin(self.codes, [k for k, name in enumerate(self.names) if name in names])

    def take(self, index: Int) -> CategoricalColumn:
        """Return the rows of an index, in its order."""
        return CategoricalColumn(self.codes[index], self.names)

    def __getitem__(self, row: int) -> str:
        return self.names[self.codes[row]]


@dataclass(frozen=True, slots=True)
class StringArray(Sequence[str]):
    """One string per row in a single array of UTF-8 bytes; undecodable bytes of a file's name are kept.

    Attributes:
        data: the bytes of all rows, one after the other.
        offsets: (V + 1,) row k is `data[offsets[k] : offsets[k + 1]]`.

    >>> files = StringArray.from_strings(["a.mp4", "", "ü.mp4"])
    >>> len(files), files[-1], list(files)
    (3, 'ü.mp4', ['a.mp4', '', 'ü.mp4'])
    """

    data: npt.NDArray[np.uint8]
    offsets: Int

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> StringArray:
        """Encode one string per row."""
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded])]).astype(np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        data, ends = self.data.tobytes(), self.offsets.tolist()
        for begin, end in itertools.pairwise(ends):
            yield data[begin:end].decode("utf-8", "surrogateescape")

    def take(self, index: Int) -> StringArray:
        """Return the rows of an index, in its order."""
        return StringArray.from_strings(self[int(k)] for k in index)


@dataclass(frozen=True, slots=True)
class RaggedIntervals:
    """A list of intervals [start, end] per row.

    Attributes:
        values: (N, 2) seconds, the intervals of all rows.
        offsets: (V + 1,) row k has `values[offsets[k] : offsets[k + 1]]`.

    >>> intervals = RaggedIntervals(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([0, 0, 2]))
    >>> intervals.counts().tolist(), intervals[1].tolist()
    ([0, 2], [[0.0, 1.0], [2.0, 3.0]])
    """

    values: npt.NDArray[np.float64]
    offsets: Int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.float64]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def counts(self) -> Int:
        """Return the number of intervals of each row: (V,)."""
        return np.diff(self.offsets)

    def take(self, index: Int) -> RaggedIntervals:
        """Return the rows of an index, in its order."""
        count = self.counts()[index]
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        at = np.repeat(self.offsets[:-1][index] - offsets[:-1], count) + np.arange(offsets[-1])
        return RaggedIntervals(self.values[at], offsets)
