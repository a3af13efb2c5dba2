from __future__ import annotations

import av
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media.backends import decord as decord_backend
from avloc.feature_extraction.media.backends.decord import decord_frames
from avloc.feature_extraction.media.cropping import Reformatters
from avloc.feature_extraction.media.decode import decode
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


def test_times_are_those_of_the_packets(cases):
    """Its picture starts at 0.7 s, which decord's own times leave out."""
    times = [frame.time_s for frame in decord_frames(cases / "late_video.mp4", [GRAY], [], Reformatters())]
    assert times == pytest.approx([0.7 + k / 30 for k in range(240)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain.ts", r"plain\.ts: decord misplaces frames of mpegts; use the decoder pyav"),
        ("cut_copy.mp4", r"cut_copy\.mp4: decord misplaces frames where an edit list cuts some off"),
    ],
)
def test_files_that_decord_misreads_are_refused(cases, name, message):
    with pytest.raises(MediaError, match=message):
        next(decord_frames(cases / name, [GRAY], [], Reformatters()))


def test_one_of_several_pictures_is_refused(tmp_path, clip):
    with av.open(str(clip)) as given, av.open(str(tmp_path / "two.mkv"), "w") as made:
        source = given.streams.video[0]
        streams = [made.add_stream_from_template(source) for _ in range(2)]
        packets = [p for p in given.demux(source) if p.dts is not None]
        for packet in packets:
            for stream in streams:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                made.mux(copy)
    with pytest.raises(MediaError, match=r"two\.mkv: has several pictures, of which decord takes any"):
        next(decord_frames(tmp_path / "two.mkv", [GRAY], [], Reformatters()))


def test_other_number_of_frames_is_refused(clip, monkeypatch):
    frame_times = decord_backend.frame_times
    monkeypatch.setattr(decord_backend, "frame_times", lambda *arguments: frame_times(*arguments)[:-1])
    with pytest.raises(MediaError, match="decord finds 30 frames where the file has 29, so that it cannot time them"):
        next(decord_frames(clip, [GRAY], [], Reformatters()))
    monkeypatch.setattr(decord_backend, "frame_times", lambda *arguments: None)
    with pytest.raises(MediaError, match="has frames without a time, which decord cannot place; use the decoder pyav"):
        next(decord_frames(clip, [GRAY], [], Reformatters()))
