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
