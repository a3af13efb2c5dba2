from __future__ import annotations

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.datasets.synthetic.encode import write_mp4
from avloc.localization.result import Localization


class FakeLocalizer:
    """Finds one segment in every clip; reports these times as progress, or raises this error."""

    def __init__(self, times_s=(0.5, 1.0), error=None):
        self.times_s, self.error = times_s, error

    def localize(self, clip, *, preview, info, progress):
        assert preview
        for time_s in self.times_s:
            progress(time_s)
        if self.error is not None:
            raise self.error
        proposals = Proposals(np.array([[0.2, 0.4]]), np.array([0.9]), np.array([[0.9, 0.1]]))
        return Localization(
            str(clip), 1.0, proposals, TimeGrid(0.0, 0.5, 2), np.zeros((2, 2), np.float32), (f"{clip}: a problem",)
        )


@pytest.fixture
def make_localizer():
    return FakeLocalizer


@pytest.fixture
def upload(tmp_path):
    """An uploaded clip of 1 s, in a folder of its own, as Gradio keeps uploads."""
    path = tmp_path / "uploads" / "0123abcd" / "my clip.MP4"
    path.parent.mkdir(parents=True)
    write_mp4(path.with_suffix(".mp4"), None, np.zeros(16_000, np.float32))
    path.with_suffix(".mp4").rename(path)
    return path
