"""A stream in parts > overlapping windows, so that a clip of any length is extracted in flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class StreamWindow(NamedTuple):
    """A window of a clip's stream, and the range of its rows to keep.

    Attributes:
        data: frames or samples (N, …).
        low: the first row to keep; earlier ones belong to the window before.
        high: the end of the rows to keep, `rows[low:high]`; None: all up to the last.
    """

    data: npt.NDArray[Any]
    low: int
    high: int | None


class WindowCutter:
    """Cut one stream of one clip into windows. A stream that fits into one window is that window, whole.

    The windows' places depend on the stream's length alone, not on the parts that it arrives in.

    Args:
        unit: frames or samples per row.
        window: rows per window.
        context: rows at each inner end of a window that are left to its neighbour.

    Raises:
        ValueError: if a window is not longer than twice its context.

    >>> cutter = WindowCutter(unit=2, window=6, context=1)
    >>> windows = [*cutter.push(np.arange(9)), *cutter.push(np.arange(9, 21)), *cutter.finish()]
    >>> [(w.data.tolist()[0], w.data.tolist()[-1], w.low, w.high) for w in windows]
    [(0, 11, 0, 5), (8, 19, 1, 5), (16, 20, 1, None)]
    """

    def __init__(self, unit: int, window: int, context: int) -> None:
        if unit < 1 or context < 0 or window <= 2 * context:
            raise ValueError(f"a window must be longer than twice its context, got {window} and {context} rows")
        self.unit, self.window, self.context = unit, window, context
        self._parts: deque[npt.NDArray[Any]] = deque()
        self._waiting = 0  # frames or samples in `_parts`
        self._low = 0  # rows at their beginning that an earlier window has covered

    def push(self, part: npt.NDArray[Any]) -> Iterator[StreamWindow]:
        """Add the next part (N, …) and yield the windows that it completes."""
        self._parts.append(part)
        self._waiting += len(part)
        size = self.window * self.unit
        while self._waiting > size:  # a window is cut only once it cannot be the last
            data = np.concatenate(self._parts)
            yield StreamWindow(data[:size], self._low, self.window - self.context)
            rest = data[size - 2 * self.context * self.unit :]
            self._parts = deque([rest])
            self._waiting, self._low = len(rest), self.context

    def finish(self) -> Iterator[StreamWindow]:
        """Yield the last window; none for an empty stream."""
        if self._waiting:
            data = np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]
            yield StreamWindow(data, self._low, None)
        self._parts.clear()
        self._waiting = 0
