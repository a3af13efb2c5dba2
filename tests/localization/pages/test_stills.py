from __future__ import annotations

import av
import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media import limits
from avloc.localization.pages import stills as stills_module
from avloc.localization.pages.stills import HEIGHT, segment_stills
from avloc.localization.segment import LocalizedSegment


def segment(start_s, end_s):
    return LocalizedSegment.from_scores((start_s, end_s), 0.9, np.array([0.1, 0.9]))


def test_stills_are_the_first_the_middle_and_the_last_frame(frames, beep, tmp_path):
    write_mp4(tmp_path / "a.mp4", frames, beep)  # 1.2 s; frame k has the brightness 7 k
    first, second, last = segment_stills(
        tmp_path / "a.mp4", [segment(0.4, 0.84), segment(0.2, 0.21), segment(1.0, 9.0)]
    )
    assert [still.time_s for still in first] == [0.42, 0.62, 0.82]
    assert first[0].image.shape == (HEIGHT, 240, 3)  # 4 : 3 as the frames
    assert all(still.image.base is None for still in first)  # or a still keeps all frames of its second
    assert [still.image.mean() for still in first] == pytest.approx([70, 105, 140], abs=6)
    assert [still.time_s for still in second] == [0.22]
    assert [still.time_s for still in last] == [1.02]  # the clip ends before the rest of the segment


def remuxed(path, suffix):
    """The same packets in another container, beside the file."""
    with av.open(path) as source, av.open(path.with_suffix(suffix), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    return path.with_suffix(suffix)


@pytest.mark.parametrize(("suffix", "opened"), [(".mp4", 4), (".ts", 2), (".flv", 2)])
def test_a_file_that_cannot_be_sought_is_decoded_once(frames, tmp_path, monkeypatch, suffix, opened):
    write_mp4(tmp_path / "a.mp4", frames, None)
    path = remuxed(tmp_path / "a.mp4", suffix)
    files, pulses, plain = [], [], av.open
    monkeypatch.setattr(av, "open", lambda file, *a, **k: files.append(file) or plain(file, *a, **k))
    segments = [segment(0.8, 1.0), segment(0.4, 0.84), segment(0.04, 0.08)]
    stills = segment_stills(path, segments, lambda: pulses.append(1))
    assert files == [str(path)] * opened  # the header, and each span or all
    # A transport stream starts at its first frame, 0 s; its encoder's delay is cut.
    assert [[still.time_s for still in each] for each in stills] == [[0.82, 0.9, 0.98], [0.42, 0.62, 0.82], [0.06]]
    shades = [still.image.mean() for each in stills for still in each]
    assert shades == pytest.approx([7 * k for k in (20, 22, 24, 10, 15, 20, 1)], abs=8)
    assert len(pulses) >= 25  # one per packet


def test_files_without_a_picture_have_no_stills(beep, tmp_path):
    write_mp4(tmp_path / "a.mp4", None, beep)
    (tmp_path / "b.mp4").write_text("no media")
    for name in ("a.mp4", "b.mp4", "missing.mp4"):
        assert segment_stills(tmp_path / name, [segment(0.4, 0.8)]) == [[]]
    assert segment_stills(tmp_path / "missing.mp4", []) == []


@pytest.mark.parametrize("claims_less", [False, True])
def test_a_picture_above_the_limit_is_not_decoded(frames, tmp_path, monkeypatch, claims_less):
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, None)  # 64 × 48
    assert stills_module._read_picture(path) is not None
    monkeypatch.setattr(limits, "MOST_PIXELS", 1000)
    if claims_less:  # the decoder itself refuses what the header hides
        monkeypatch.setattr(stills_module, "check_picture", lambda *_: None)
    with pytest.raises(MediaError, match=r"a\.mp4: " + ("" if claims_less else "its picture claims 64 × 48 pixels")):
        stills_module._read_picture(path)
    assert segment_stills(path, [segment(0.4, 0.8)]) == [[]]


def test_only_the_strongest_segments_get_stills(frames, beep, tmp_path, monkeypatch):
    monkeypatch.setattr(stills_module, "MAX_SEGMENTS", 1)
    write_mp4(tmp_path / "a.mp4", frames, beep)
    counts = [len(images) for images in segment_stills(tmp_path / "a.mp4", [segment(0.4, 0.8), segment(0.2, 0.3)])]
    assert counts == [3, 0]
