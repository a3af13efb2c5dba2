from __future__ import annotations

import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media.probe import check_span, open_container, probe
from avloc.feature_extraction.media.types import WHOLE, MediaInfo, Span


def test_header_of_a_clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "clip.mp4", frames, beep, crf=1)
    info = probe(tmp_path / "clip.mp4")
    assert (info.fps, info.frames, info.width, info.height) == (25, 30, 64, 48)
    assert (info.sample_rate, info.channels, info.audio_tracks) == (16000, 1, 1)
    assert info.duration_s == pytest.approx(1.2, abs=0.07)


def test_missing_streams_have_no_attributes(tmp_path, frames, beep):
    write_mp4(tmp_path / "silent.mp4", frames, None)
    write_mp4(tmp_path / "blind.mp4", None, beep)
    silent, blind = probe(tmp_path / "silent.mp4"), probe(str(tmp_path / "blind.mp4"))
    assert (silent.sample_rate, silent.channels, silent.audio_tracks) == (None, None, 0)
    assert (blind.fps, blind.frames, blind.width, blind.height) == (None, None, None, None)
    assert blind.duration_s == pytest.approx(1.2, abs=0.07)


@pytest.mark.parametrize("content", [b"", b"this is no clip\n" * 50])
def test_other_files_are_one_error(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"x\.mp4: cannot be opened as media \("):
        probe(tmp_path / "x.mp4")
    for missing in (tmp_path / "y.mp4", tmp_path):
        with pytest.raises(MediaError, match="no such file"):
            open_container(missing)


def test_file_without_picture_and_sound(tmp_path):
    (tmp_path / "subtitles.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with pytest.raises(MediaError, match=r"subtitles\.srt: has neither a video nor an audio stream"):
        probe(tmp_path / "subtitles.srt")


def test_spans_of_a_file(tmp_path):
    info = MediaInfo(tmp_path / "c.mp4", 10.0, 25, 250, 64, 48, 16000, 1, audio_tracks=2)
    for span in (WHOLE, Span(1.5, 2), Span(9, 99), Span(audio_track=1)):
        check_span(info, span)
    for span in (Span(2, 2), Span(3, 2), Span(-1, 2)):
        with pytest.raises(MediaError, match=r"c\.mp4: want 0 ≤ start < end, got"):
            check_span(info, span)
    for track in (2, -1):
        with pytest.raises(MediaError, match=rf"c\.mp4: has no audio track {track}, it has 2 \(numbered from 0\)"):
            check_span(info, Span(audio_track=track))
