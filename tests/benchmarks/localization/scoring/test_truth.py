from __future__ import annotations

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.errors import AvlocError


def test_a_forgery_of_both_modalities_is_one_fake():
    from scoring.truth import forged_name, forgeries

    audio, visual = (Segment(1.0, 2.0), Segment(4.0, 5.0), Segment(7.0, 7.3)), (Segment(0.9, 1.8), Segment(4.6, 5.6))
    record = VideoRecord("x", "test", 9.0, audio, visual, attributes=(("fps", "25"),))
    merged = forgeries(record)  # IoU .8 / 1.1, then .4 / 1.6
    assert merged.audio_segments == (Segment(0.9, 2.0), *audio[1:])
    assert merged.visual_segments == (Segment(0.9, 2.0), Segment(4.6, 5.6))
    assert (merged.file, merged.duration_s, merged.attributes) == (record.file, 9.0, record.attributes)
    names = [forged_name(merged, segment) for segment in merged.segments]
    assert names == ["both", "audio", "visual", "audio"]
    assert forgeries(merged) == merged
    real = VideoRecord("y", "test")
    assert forgeries(real) == real


def test_a_segment_pairs_with_the_closest_one():
    from scoring.truth import forgeries

    record = VideoRecord("x", "test", None, (Segment(0.0, 1.1), Segment(1.1, 2.0)), (Segment(0.0, 2.0),))
    assert forgeries(record).audio_segments == (Segment(0.0, 2.0), Segment(1.1, 2.0))


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
