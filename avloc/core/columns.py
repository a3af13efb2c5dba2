"""Columns for millions of clips: texts and lists in flat arrays instead of a Python object each."""

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
    """One of few texts per row, as numbers: `names[codes[k]]` is that of row k; "" where nothing is said."""

    codes: npt.NDArray[np.int32]
    names: list[str]

    @classmethod
    def of(cls, values: Iterable[str]) -> CategoricalColumn:
        """From the texts."""
        known: dict[str, int] = {}
        codes = np.array([known.setdefault(v, len(known)) for v in values], dtype=np.int32)
        return cls(codes, list(known))

    def isin(self, *names: str) -> Mask:
        """Which rows have one of these texts: (V,)."""
        return np.isin(self.codes, [k for k, name in enumerate(self.names) if name in names])

    def take(self, index: Int) -> CategoricalColumn:
        """Some of the rows."""
        return CategoricalColumn(self.codes[index], self.names)

    def __getitem__(self, row: int) -> str:
        return self.names[self.codes[row]]


@dataclass(frozen=True, slots=True)
class StringArray(Sequence[str]):
    """A text per row in one array of UTF-8 bytes: `offsets` (V + 1,)."""

    data: npt.NDArray[np.uint8]
    offsets: Int

    @classmethod
    def of(cls, texts: Iterable[str]) -> StringArray:
        """From the texts."""
        encoded = [text.encode("utf-8") for text in texts]
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
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        data, ends = self.data.tobytes(), self.offsets.tolist()
        for begin, end in itertools.pairwise(ends):
            yield data[begin:end].decode("utf-8")

    def take(self, index: Int) -> StringArray:
        """Some of the rows."""
        return StringArray.of(self[int(k)] for k in index)


@dataclass(frozen=True, slots=True)
class RaggedIntervals:
    """A list of [start, end] per row: `values` (N, 2) seconds, `offsets` (V + 1,)."""

    values: npt.NDArray[np.float64]
    offsets: Int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.float64]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def counts(self) -> Int:
        """How many each row has: (V,)."""
        return np.diff(self.offsets)

    def take(self, index: Int) -> RaggedIntervals:
        """Some of the rows."""
        count = self.counts()[index]
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        at = np.repeat(self.offsets[:-1][index] - offsets[:-1], count) + np.arange(offsets[-1])
        return RaggedIntervals(self.values[at], offsets)
