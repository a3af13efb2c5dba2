from __future__ import annotations

import pytest

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment

FIRST, SECOND = Segment(0.5, 1.0), Segment(2.0, 2.5)


@pytest.mark.parametrize(
    ("audio", "visual", "modality"),
    [((), (), "real"), ((FIRST,), (), "audio"), ((), (FIRST,), "visual"), ((FIRST,), (SECOND,), "both")],
)
def test_modality_follows_from_the_segments(audio, visual, modality):
    assert VideoRecord("a.mp4", "train", None, audio, visual).modality == modality


def test_segments_are_the_sorted_union():
    record = VideoRecord("a.mp4", "train", 4.0, (SECOND, FIRST), (FIRST,))
    assert record.segments == (FIRST, SECOND)
    assert [record.modality_segments(m) for m in MODALITIES] == [(SECOND, FIRST), (FIRST,)]


def test_records_are_labelled_by_default():
    record = VideoRecord("a.mp4", "test")
    assert record.labelled
    assert (record.duration_s, record.segments, record.attributes) == (None, (), ())


def test_a_forgery_of_both_modalities_gets_one_segment():
    audio, visual = (Segment(1.0, 2.0), Segment(4.0, 5.0), Segment(7.0, 7.3)), (Segment(0.9, 1.8), Segment(4.6, 5.6))
    record = VideoRecord("x", "test", 9.0, audio, visual, attributes=(("fps", "25"),))
    joined = record.with_joined_segments()  # IoU .8 / 1.1, then .4 / 1.6
    assert joined.audio_segments == (Segment(0.9, 2.0), *audio[1:])
    assert joined.visual_segments == (Segment(0.9, 2.0), Segment(4.6, 5.6))
    assert (joined.file, joined.duration_s, joined.attributes) == (record.file, 9.0, record.attributes)
    assert joined.with_joined_segments() == joined
    real = VideoRecord("y", "test")
    assert real.with_joined_segments() == real


def test_a_segment_joins_the_closest_one():
    record = VideoRecord("x", "test", None, (Segment(0.0, 1.1), Segment(1.1, 2.0)), (Segment(0.0, 2.0),))
    assert record.with_joined_segments().audio_segments == (Segment(0.0, 2.0), Segment(1.1, 2.0))
