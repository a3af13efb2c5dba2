from __future__ import annotations

import numpy as np
import pytest

from avloc.feature_extraction.extractors.windows import Windows


def cut(length, unit, window, context, parts):
    """The windows of the numbers 0 … length − 1, pushed in parts of so many."""
    windows = Windows(unit, window, context)
    found = []
    for begin in range(0, length, parts):
        found += windows.push(np.arange(begin, min(length, begin + parts)))
    return [*found, *windows.finish()]


@pytest.mark.parametrize(
    ("length", "unit", "window", "context"),
    [(10, 1, 6, 1), (100, 1, 7, 2), (5, 1, 6, 1), (17, 1, 16, 4), (1, 1, 1, 0), (41, 3, 5, 1)],
)
def test_every_row_is_answered_once_and_sees_its_context(length, unit, window, context):
    total = -(-length // unit)
    answered = []
    for data, low, high in cut(length, unit, window, context, parts=length):
        assert len(data) <= window * unit
        assert data[0] % unit == 0
        first, rows = data[0] // unit, -(-len(data) // unit)
        kept = range(rows)[low:high]
        answered += [first + k for k in kept]
        assert first == 0 or low >= context
        assert first + rows == total or rows - kept[-1] - 1 >= context
    assert answered == list(range(total))


def test_the_parts_do_not_matter():
    whole = cut(103, 2, 9, 2, parts=103)
    for parts in (1, 7, 50):
        again = cut(103, 2, 9, 2, parts)
        assert [w[1:] for w in again] == [w[1:] for w in whole]
        for a, b in zip(again, whole, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


def test_nothing_is_no_window():
    assert cut(0, 2, 9, 2, parts=1) == []
    with pytest.raises(ValueError, match="longer than twice its context"):
        Windows(1, 4, 2)
