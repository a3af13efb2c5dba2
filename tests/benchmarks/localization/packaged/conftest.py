from __future__ import annotations

import numpy as np
import pytest

NONE = np.zeros((0, 2))


@pytest.fixture
def scores():
    """Three real clips of 5, 4 and 3 minutes, and a forged one of 1 minute, one of whose two segments is found."""
    from packaged.split_scores import SplitScores

    rows = {
        "r1": np.array([[0.613, 1, 2], [0.612, 1.5, 2.5], [0.4, 9, 10]]),  # two alarms down to 0.4
        "r2": np.array([[0.5, 1, 2]]),
        "r3": np.zeros((0, 3)),
        "f": np.array([[0.9, 1, 2], [0.45, 30, 31]]),
    }
    segments = {"r1": NONE, "r2": NONE, "r3": NONE, "f": np.array([[1.0, 2.0], [5.0, 6.0]])}
    best = {name: float(each[:, 0].max(initial=0)) for name, each in rows.items()}
    return SplitScores(rows, segments, best, {"r1": 300.0, "r2": 240.0, "r3": 180.0, "f": 60.0}, {})
