from __future__ import annotations

import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.media.cropping import Reformatters
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.decord_backend import decord_frames
from avloc.feature_extraction.media.types import VideoFormat

GRAY, FACE = VideoFormat(48, 64, "gray"), VideoFormat(8, 8, crop="face")

pytest.importorskip("decord")


@pytest.fixture
def clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "clip.mp4", frames, beep, crf=1)
    return tmp_path / "clip.mp4"


def test_frames_with_their_times(clip):
    problems = []
    decoded = list(decord_frames(clip, [GRAY, FACE], problems, Reformatters()))
    assert problems == []
    assert [f.time_s for f in decoded] == pytest.approx([k / 25 for k in range(30)])
    assert [f.duration_s for f in decoded] == pytest.approx([1 / 25] * 30, abs=1e-6)
    assert [round(f.images[GRAY].mean() / 7) for f in decoded] == list(range(30))
    assert {tuple(f.images) for f in decoded} == {(GRAY,)}  # the face is cut out later, from the picture
    assert {(f.picture.height, f.picture.width) for f in decoded} == {(48, 64)}
    assert next(decord_frames(clip, [GRAY], problems, Reformatters())).picture is None


def test_unreadable_file_is_a_problem(tmp_path):
    (tmp_path / "x.mp4").write_text("no clip")
    problems = []
    assert list(decord_frames(tmp_path / "x.mp4", [GRAY], problems, Reformatters())) == []
    assert len(problems) == 1
    assert problems[0].startswith("decord cannot open it (")


def test_widths_whose_rows_are_padded(clip):
    for side in (20, 24, 48):
        rgb = VideoFormat(side, side)
        by_decord, by_pyav = (decode(clip, [rgb], backend=backend).frames[rgb] for backend in ("decord", "pyav"))
        assert by_decord == pytest.approx(by_pyav, abs=3)
