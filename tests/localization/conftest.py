from __future__ import annotations

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.localization.result import Localization


@pytest.fixture
def found():
    """A clip of 4.1 s with three segments: picture, sound and both; its sound ends early."""
    fakeness = np.full((103, 2), 0.02, np.float32)
    fakeness[12:20, 1] = 0.9
    fakeness[50:66, 0] = 0.7
    fakeness[90:, 0] = np.nan
    segments = np.array([[0.5, 0.8], [2.0, 2.64], [3.1, 3.3]])
    each = np.array([[0.05, 0.91], [0.72, 0.1], [0.3, 0.31]])
    return Localization(
        "folder/a <b> & $c.mp4", 4.12, Proposals(segments, np.array([0.9, 0.7, 0.3]), each),
        TimeGrid(0.0, 0.04, 103), fakeness, ("2 damaged packets were left out",),
        {"clip": 0.93, "audio": 0.8, "visual": 0.9}, True, {"audio": (0.0, 3.6), "visual": (0.0, 4.12)},
    )  # fmt: skip


@pytest.fixture
def nothing():
    """A clip without a picture, in which nothing was found."""
    fakeness = np.stack([np.zeros(25), np.full(25, np.nan)], axis=1).astype(np.float32)
    return Localization(
        "quiet.wav", 1.0, Proposals.empty(), TimeGrid(0.0, 0.04, 25), fakeness, ("no video stream",),
        {"clip": 0.0, "audio": 0.0, "visual": 0.0}, False, {"audio": (0.0, 1.0), "visual": None},
    )  # fmt: skip
