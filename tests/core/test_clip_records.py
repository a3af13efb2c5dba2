from __future__ import annotations

from dataclasses import fields

import pytest

from avloc.core.clip_records import ClipRecord, clip_record, video_record
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.errors import AvlocError

SEGMENTS = (Segment(1.0, 1.5), Segment(3.0, 3.25))


def test_the_type_has_no_field_for_a_segment():
    types = {field.name: field.type for field in fields(ClipRecord)}
    assert types == {
        "file": "str",
        "split": "str",
        "duration_s": "float | None",
        "forged_modalities": "tuple[str, ...]",
        "labelled": "bool",
    }
    record = ClipRecord.from_video(VideoRecord("a.mp4", "train", 4.0, SEGMENTS, attributes=(("times", "1.0-1.5"),)))
    for name in ("segments", "audio_segments", "visual_segments", "attributes", "__dict__"):
        assert not hasattr(record, name)
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(record, "segments", SEGMENTS)
    assert "1.5" not in repr(record)


@pytest.mark.parametrize("audio", [(), SEGMENTS])
@pytest.mark.parametrize("visual", [(), SEGMENTS])
def test_the_forged_modalities_are_those_of_the_segments(audio, visual):
    video = VideoRecord("a.mp4", "dev", None, audio, visual, labelled=False)
    record = clip_record(video)
    assert (record.file, record.split, record.duration_s, record.labelled) == ("a.mp4", "dev", None, False)
    assert (record.modality, record.is_fake) == (video.modality, bool(video.segments))
    assert clip_record(record) is record


def test_a_record_with_segments_is_wanted():
    video = VideoRecord("a.mp4", "train")
    assert video_record(video) is video
    with pytest.raises(AvlocError, match=r"a\.mp4: want fake segments, got the labels of the clip alone"):
        video_record(ClipRecord("a.mp4", "train"))
