from __future__ import annotations

import pickle

import numpy as np

from avloc.core.clip_records import ClipRecord
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.heads.clip_labels import ClipTargetMaker

GRID = TimeGrid(0.0, 0.04, 19)


def test_labels_are_those_of_the_clip_and_not_of_a_time():
    maker = pickle.loads(pickle.dumps(ClipTargetMaker()))
    early, late = (VideoRecord("a", "t", None, (Segment(*ends),)) for ends in ((0.0, 0.1), (0.5, 0.7)))
    targets = [maker(record, GRID, 25) for record in (early, late, ClipRecord("a", "t", None, ("audio",)))]
    for target, unassigned in targets:
        assert (target.labels.tolist(), unassigned) == ([1.0, 0.0], 0)
        assert target.labels.dtype == np.float32
    assert maker(ClipRecord("b", "t"), GRID, 25)[0].labels.tolist() == [0.0, 0.0]
    assert not maker.needs_segments
