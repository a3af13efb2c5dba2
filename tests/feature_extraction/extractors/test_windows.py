from __future__ import annotations

import numpy as np
import pytest

from avloc.feature_extraction.extractors.windows import WindowCutter


def cut(length, unit, window, context, parts):
    """The windows of the numbers 0 … length − 1, pushed in parts of this length."""
    cutter = WindowCutter(unit, window, context)
    windows = []
    for begin in range(0, length, parts):
        windows += cutter.push(np.arange(begin, min(length, begin + parts)))
    return [*windows, *cutter.finish()]


@pytest.mark.parametrize(
    ("length", "unit", "window", "context"),
    [(10, 1, 6, 1), (100, 1, 7, 2), (5, 1, 6, 1), (17, 1, 16, 4), (1, 1, 1, 0), (41, 3, 5, 1)],
)
def test_every_row_is_kept_once_with_its_context(length, unit, window, context):
    total = -(-length // unit)
    kept_rows = []
    for data, low, high in cut(length, unit, window, context, parts=length):
        assert len(data) <= window * unit
        assert data[0] % unit == 0
        first, rows = data[0] // unit, -(-len(data) // unit)
        kept = range(rows)[low:high]
        kept_rows += [first + k for k in kept]
        assert first == 0 or low >= context
        assert first + rows == total or rows - kept[-1] - 1 >= context
    assert kept_rows == list(range(total))


def test_windows_do_not_depend_on_the_parts():
    whole = cut(103, 2, 9, 2, parts=103)
    for parts in (1, 7, 50):
        again = cut(103, 2, 9, 2, parts)
        assert [w[1:] for w in again] == [w[1:] for w in whole]
        for a, b in zip(again, whole, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


def test_empty_stream_has_no_window():
    assert cut(0, 2, 9, 2, parts=1) == []


def test_window_must_be_longer_than_twice_its_context():
    with pytest.raises(ValueError, match="longer than twice its context"):
        WindowCutter(1, 4, 2)
