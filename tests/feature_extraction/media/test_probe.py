from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from av.stream import Disposition

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.limits import check_claims
from avloc.feature_extraction.media.probe import (
    check_span,
    count_pictures,
    error_reason,
    media_errors,
    open_container,
    probe,
    select_tracks,
)
from avloc.feature_extraction.media.types import WHOLE, MediaInfo, Span, VideoFormat


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


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for a writer
    for path, message in (
        (tmp_path / "y.mp4", r"y\.mp4: no such file"),
        (tmp_path, "is a folder, want a media file"),
        (tmp_path / "pipe.mp4", r"pipe\.mp4: is a device or a pipe, want a media file"),
        (Path("/dev/null"), "/dev/null: is a device or a pipe, want a media file"),
    ):
        with pytest.raises(MediaError, match=message):
            open_container(path)


def test_file_without_picture_and_sound(tmp_path):
    def box(kind, content):
        return struct.pack(">I4s", 8 + len(content), kind) + content

    header = box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 0) + bytes(80))
    (tmp_path / "header.mp4").write_bytes(box(b"ftyp", b"isom" + bytes(4)) + box(b"moov", header) + box(b"mdat", b""))
    with pytest.raises(MediaError, match=r"header\.mp4: has neither a video nor an audio stream"):
        probe(tmp_path / "header.mp4")


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


def write_late(path, start_s, frames):
    """30 frames at 25 fps from a late start on, in three fragments."""
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov+delay_moov"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(25 * start_s) + k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("start_s", [0.0, 3.2, 25_203.2])
def test_a_file_that_starts_late_ends_where_its_frames_end(tmp_path, frames, start_s):
    write_late(tmp_path / "late.mp4", start_s, frames)
    info, clip = probe(tmp_path / "late.mp4"), decode(tmp_path / "late.mp4", [VideoFormat(2, 3)], audio=False)
    assert (info.start_s, info.duration_s) == pytest.approx((start_s, start_s + 1.2))
    assert (clip.video_start_s, clip.duration_s, clip.claimed_s) == pytest.approx((start_s, start_s + 1.2, 1.2))
    assert clip.problems == []


@pytest.mark.parametrize("suffix", [".mkv", ".nut"])
def test_a_late_file_with_a_track_that_is_empty_at_first(tmp_path, frames, suffix):
    """FFmpeg gives such a track the start and the end of the file as its start and its length."""
    path = tmp_path / f"late{suffix}"
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=16_000)
        picture.width, picture.height, picture.pix_fmt, sound.layout = 64, 48, "yuv420p", "mono"
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 125 + k, Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
    info = probe(path)
    assert (info.start_s, info.duration_s) == pytest.approx((5.0, 6.2), abs=0.05)
    clip = decode(path, [VideoFormat(2, 3)])
    assert clip.claimed_s == pytest.approx(1.2, abs=0.05)
    assert not [line for line in clip.problems if "its header claims" in line]


def test_a_late_start_does_not_count_as_length(tmp_path, frames):
    write_late(tmp_path / "late.mp4", 25_203.2, frames)  # seven hours: the clock of a longer recording
    info = probe(tmp_path / "late.mp4")
    assert info.seconds_in(WHOLE) == pytest.approx(1.2)
    assert info.seconds_in(Span(25_204.0, 25_204.3)) == pytest.approx(0.3)
    assert info.seconds_in(Span(0.0, 9.0)) == 0
    check_claims(info, Span(longest_s=1.3))
    with pytest.raises(MediaError, match=r"late\.mp4: 1\.2 s long, want at most 1 s"):
        check_claims(info, Span(longest_s=1.0))
    with pytest.raises(MediaError, match=r"late\.mp4: the start at 25300 s is past the clip's end at 25204\.40 s"):
        decode(tmp_path / "late.mp4", [VideoFormat(2, 3)], audio=False, span=Span(25_300.0))


def streams_of(*dispositions, codec_context="a codec"):
    return [SimpleNamespace(disposition=Disposition(d), codec_context=codec_context) for d in dispositions]


@pytest.mark.parametrize(
    ("dispositions", "selected", "count"),
    [
        ([0, 0], 0, 2),
        ([0, Disposition.default, Disposition.default], 1, 3),
        ([Disposition.attached_pic, 0], 1, 1),
        ([Disposition.attached_pic | Disposition.default, 0], 1, 1),
        ([Disposition.attached_pic], None, 0),
        ([], None, 0),
    ],
)
def test_the_default_picture_and_never_a_cover(dispositions, selected, count):
    pictures = streams_of(*dispositions)
    container = SimpleNamespace(streams=SimpleNamespace(video=pictures, audio=[]))
    tracks = select_tracks(container)
    assert tracks.picture is (None if selected is None else pictures[selected])
    assert (tracks.sound, tracks.failures) == (None, {})
    assert tracks.selected == [s for s in (tracks.picture,) if s is not None]
    assert count_pictures(container) == count


def test_the_default_sound_or_the_one_with_a_number():
    sounds = streams_of(0, Disposition.default, 0)
    container = SimpleNamespace(streams=SimpleNamespace(video=[], audio=sounds))
    assert select_tracks(container).sound is sounds[1]
    assert select_tracks(container, 0).sound is sounds[0]
    assert select_tracks(container, 2).sound is sounds[2]
    assert select_tracks(container, 3).sound is None


def test_streams_without_a_decoder():
    streams = SimpleNamespace(video=streams_of(0, codec_context=None), audio=streams_of(0))
    tracks = select_tracks(SimpleNamespace(streams=streams))
    assert (tracks.picture, tracks.sound) == (None, streams.audio[0])
    assert tracks.failures == {"visual": "no decoder for its video codec"}


def test_covers_of_sound_files(cases):
    for name in ("cover.m4a", "cover.mp3"):
        with open_container(cases / name) as container:
            tracks = select_tracks(container)
            assert (tracks.picture, count_pictures(container)) == (None, 0)
            assert tracks.selected == [tracks.sound]


def test_lengths_of_files_whose_header_has_none(cases):
    assert probe(cases / "chan_change.mp3").duration_s == pytest.approx(
        6.06, abs=0.01
    )  # the header's bit rate says 4.56
    assert probe(cases / "raw.h264").duration_s == pytest.approx(8.0)
    assert probe(cases / "plain.ts").duration_s == pytest.approx(8.0, abs=0.03)
    assert probe(cases / "late_video.mp4").duration_s == pytest.approx(8.7)


def test_reading_all_packets_shows_that_the_process_is_alive(cases):
    """A recording of hours without a length in its header must not look like a hang; a header is read at once."""
    pulses = []
    probe(cases / "plain.ts", lambda: pulses.append(None))
    assert len(pulses) > 200
    probe(cases / "cut_copy.mp4", lambda: pytest.fail("all packets were read"))

    def cancel():
        raise InterruptedError("cancelled")

    with pytest.raises(MediaError, match="plain.ts: .*cancelled"):
        probe(cases / "plain.ts", cancel)


def test_any_exception_of_a_library_names_the_file(tmp_path):
    for error in (IndexError("list index"), AttributeError("x"), struct.error("bad"), OverflowError(), MemoryError()):
        with (
            pytest.raises(MediaError, match=rf"c\.mp4: cannot be read \({type(error).__name__}"),
            media_errors(tmp_path / "c.mp4", "cannot be read"),
        ):
            raise error
    with pytest.raises(AvlocError, match="^as it is$"), media_errors(tmp_path):
        raise AvlocError("as it is")
    with pytest.raises(KeyboardInterrupt), media_errors(tmp_path):
        raise KeyboardInterrupt


def test_reasons_are_one_line():
    assert error_reason(OSError(2, "No such\nfile")) == "No such file"
    assert error_reason(ValueError("two\nlines")) == "ValueError: two lines"
    assert error_reason(MemoryError()) == "MemoryError"


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "x\0y.mp4"])
def test_impossible_names(tmp_path, name):
    with pytest.raises(MediaError):
        probe(tmp_path / name)
