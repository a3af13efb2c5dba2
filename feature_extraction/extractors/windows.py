"""A stream that comes in parts > overlapping windows, so that a clip of any length is extracted in flat memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Window(NamedTuple):
    """Some frames or samples of a clip, and which of the rows made of them count: `rows[low:high]`."""

    data: npt.NDArray[Any]
    low: int
    high: int | None


class Windows:
    """Cuts one stream of one clip. A stream that fits into one window is that window, whole.

    Where the windows lie depends on the stream's length alone, not on the parts that it comes in.

    Args:
        unit: frames or samples per row.
        window: rows per window.
        context: rows at each inner end of a window that are left to its neighbour.

    >>> windows = Windows(unit=2, window=6, context=1)
    >>> cut = [*windows.push(np.arange(9)), *windows.push(np.arange(9, 21)), *windows.finish()]
    >>> [(w.data.tolist()[0], w.data.tolist()[-1], w.low, w.high) for w in cut]
    [(0, 11, 0, 5), (8, 19, 1, 5), (16, 20, 1, None)]
    """

    def __init__(self, unit: int, window: int, context: int) -> None:
        if unit < 1 or context < 0 or window <= 2 * context:
            raise ValueError(f"a window must be longer than twice its context, got {window} and {context} rows")
        self.unit, self.window, self.context = unit, window, context
        self._parts: deque[npt.NDArray[Any]] = deque()
        self._waiting = 0  # frames or samples in `_parts`
        self._low = 0  # rows at their beginning that were answered already

    def push(self, part: npt.NDArray[Any]) -> Iterator[Window]:
        """Take the next part (N, …); the windows that it completes."""
        self._parts.append(part)
        self._waiting += len(part)
        size = self.window * self.unit
        while self._waiting > size:  # a window is cut only when it is known not to be the last
            data = np.concatenate(self._parts)
            yield Window(data[:size], self._low, self.window - self.context)
            rest = data[size - 2 * self.context * self.unit :]
            self._parts = deque([rest])
            self._waiting, self._low = len(rest), self.context

    def finish(self) -> Iterator[Window]:
        """The last window; none if nothing came."""
        if self._waiting:
            yield Window(np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0], self._low, None)
        self._parts.clear()
        self._waiting = 0
