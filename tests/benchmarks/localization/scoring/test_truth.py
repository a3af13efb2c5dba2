from __future__ import annotations

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.errors import AvlocError


def test_a_forgery_of_both_modalities_has_one_name():
    from scoring.truth import forged_name

    audio, visual = (Segment(1.0, 2.0), Segment(4.0, 5.0), Segment(7.0, 7.3)), (Segment(0.9, 1.8), Segment(4.6, 5.6))
    joined = VideoRecord("x", "test", 9.0, audio, visual).with_joined_segments()
    names = [forged_name(joined, segment) for segment in joined.segments]
    assert names == ["both", "audio", "visual", "audio"]


def test_columns(small_truth):
    table = small_truth.table
    assert table.files == ["a", "b", "c", "d"]
    assert [table.modality[k] for k in range(4)] == ["real", "audio", "visual", "both"]
    assert table.segments(3).tolist() == [[1.0, 2.1]]
    assert table.source[0] == table.source[1] != table.source[2] == table.source[3]
    assert small_truth.is_forged().tolist() == [False, True, True, True]


def test_a_clip_without_details_is_refused(small_truth):
    from scoring.truth import SplitTruth

    details = dict(zip(small_truth.table.files, small_truth.details, strict=True))
    with pytest.raises(AvlocError, match="1 clips have no details, the first is e"):
        SplitTruth.build([*small_truth.records, VideoRecord("e", "test")], details)
