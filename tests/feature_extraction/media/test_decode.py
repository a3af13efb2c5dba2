from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import MediaError
from avloc.feature_extraction.media import decode as decoding
from avloc.feature_extraction.media.decode import check_fits, decode, stream
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import Span, VideoFormat

GRAY = VideoFormat(48, 64, "gray")


@pytest.fixture
def clip(tmp_path, frames, beep):
    write_mp4(tmp_path / "clip.mp4", frames, beep, crf=1)
    return tmp_path / "clip.mp4"


def frame_numbers(clip):
    """The number of the grey frame at each step."""
    return np.rint(clip.frames[GRAY].mean(axis=(1, 2)) / 7).astype(int).tolist()


def tone_s(clip):
    """The times of the first and last loud sample."""
    loud = np.flatnonzero(np.abs(clip.samples) > 0.1) / clip.sample_rate + clip.audio_start_s
    return loud[0], loud[-1]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_frames_and_samples_come_at_their_times(clip, backend):
    decoded = decode(clip, [GRAY, VideoFormat(24, 32)], backend=backend)
    assert frame_numbers(decoded) == list(range(30))
    assert decoded.frames[VideoFormat(24, 32)].shape == (30, 24, 32, 3)
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)
    assert decoded.problems == []


@pytest.mark.parametrize(("fps", "expected"), [(50, 15), (10, 75)])
def test_other_frame_rates_are_brought_to_the_clock(tmp_path, frames, fps, expected):
    write_mp4(tmp_path / "c.mp4", frames, None, fps=fps, crf=1)
    decoded = decode(tmp_path / "c.mp4", [GRAY])
    assert len(decoded.frames[GRAY]) == expected
    middles = (np.arange(expected) + 0.5) / 25
    shown = np.floor(middles * fps + 1e-6).astype(int)
    assert np.abs(np.array(frame_numbers(decoded)) - shown).max() <= (1 if fps == 50 else 0)


def test_stereo_at_48_khz(tmp_path, frames, beep):
    high = np.repeat(beep, 3)
    write_mp4(tmp_path / "c.mp4", frames, np.stack([high, 0 * high]), sample_rate=48000)
    decoded = decode(tmp_path / "c.mp4", [])
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)
    assert np.abs(decoded.samples).max() == pytest.approx(0.25, abs=0.1)  # the mean of 0.5 and silence
    assert decoded.frames == {}


def test_missing_streams_are_problems(tmp_path, frames, beep):
    write_mp4(tmp_path / "silent.mp4", frames, None)
    write_mp4(tmp_path / "blind.mp4", None, beep)
    silent, blind = decode(tmp_path / "silent.mp4", [GRAY]), decode(tmp_path / "blind.mp4", [GRAY])
    assert silent.samples is None
    assert silent.problems == ["no audio stream"]
    assert blind.frames == {}
    assert blind.problems == ["no video stream"]
    assert blind.duration_s == pytest.approx(1.2, abs=0.07)
    # A missing stream that is requested alone is a problem, and no error.
    assert decode(tmp_path / "blind.mp4", [GRAY], audio=False).problems == ["no video stream"]
    assert decode(tmp_path / "silent.mp4").problems == ["no audio stream"]


def test_damaged_file_gives_its_readable_part(clip):
    data = bytearray(clip.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(200, len(data) // 2, 60):
        data[position] ^= 0xFF
    broken = clip.with_name("broken.mp4")
    broken.write_bytes(bytes(data))
    try:
        decoded = decode(broken, [GRAY])
    except MediaError as error:
        assert "broken.mp4" in str(error)
    else:
        assert decoded.frames or decoded.samples is not None


@pytest.mark.parametrize("content", [b"", b"this is no clip\n" * 50])
def test_other_files_are_one_error(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"x\.mp4: cannot be opened as media"):
        decode(tmp_path / "x.mp4", [GRAY])
    with pytest.raises(MediaError, match=r"y\.mp4: no such file"):
        decode(tmp_path / "y.mp4")


def test_truncated_without_index(clip):
    half = clip.with_name("half.mp4")
    half.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"half\.mp4: "):
        decode(half, [GRAY])


def test_unknown_backend(clip):
    with pytest.raises(MediaError, match="must be pyav or decord, got 'x'"):
        decode(clip, backend="x")


def test_parts_equal_the_whole(clip):
    whole = decode(clip, [GRAY])
    parts = list(stream(clip, [GRAY], part_s=0.28))
    assert [p.video_grid.length for p in parts if p.frames] == [7, 7, 7, 7, 2]
    assert [round(p.video_start_s, 6) for p in parts if p.frames] == [0, 0.28, 0.56, 0.84, 1.12]
    np.testing.assert_array_equal(np.concatenate([p.frames[GRAY] for p in parts if p.frames]), whole.frames[GRAY])
    sounds = [p for p in parts if p.samples is not None]
    assert {len(p.samples) for p in sounds[:-1]} == {4480}
    assert sounds[2].audio_start_s == pytest.approx(whole.audio_start_s + 0.56)
    np.testing.assert_array_equal(np.concatenate([p.samples for p in sounds]), whole.samples)
    assert (parts[-1].frames, parts[-1].samples) == ({}, None)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("resize", ["swscale", "nearest", "bicubic"])
def test_central_square(tmp_path, backend, resize):
    picture = np.zeros((48, 80, 3), dtype=np.uint8)
    picture[:, :16], picture[:, 16:40], picture[:, 40:64], picture[:, 64:] = 250, 50, 150, 250
    write_mp4(tmp_path / "c.mp4", np.stack([picture] * 3), None, crf=1)
    formats = [VideoFormat(24, 24, resize=resize, crop=crop) for crop in ("center", "none")]
    center, whole = (decode(tmp_path / "c.mp4", formats, backend=backend).frames[f] for f in formats)
    scale = 255 if resize == "bicubic" else 1
    assert center.shape == whole.shape == (3, 24, 24, 3)
    assert scale * center[:, :, 2:10] == pytest.approx(50, abs=6)
    assert scale * center[:, :, 14:22] == pytest.approx(150, abs=6)
    assert scale * whole[:, :, :4] == pytest.approx(250, abs=6)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_span_keeps_the_files_times(clip, backend):
    decoded = decode(clip, [GRAY], span=Span(0.48, 0.8), backend=backend)
    assert frame_numbers(decoded) == list(range(12, 20))
    assert decoded.video_start_s == pytest.approx(0.48)
    assert decoded.audio_start_s == pytest.approx(0.48)
    assert len(decoded.samples) == round(0.32 * 16000)
    assert tone_s(decoded) == pytest.approx((0.5, 0.6), abs=0.01)


def test_nothing_requested_is_nothing_decoded(clip):
    decoded = decode(clip, audio=False)
    assert (decoded.frames, decoded.samples, decoded.problems) == ({}, None, [])


def test_span_behind_the_end_is_an_error(clip):
    with pytest.raises(MediaError, match=r"clip\.mp4: nothing could be decoded \(no frame could be decoded; no sound"):
        decode(clip, [GRAY], span=Span(30, 40))


def test_frames_that_do_not_fit_into_memory(clip, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", GRAY.frame_bytes * 20)
    check_fits(clip, [GRAY], Span(0.2, 0.9))
    for check in (check_fits, lambda path, formats: decode(path, formats)):
        with pytest.raises(MediaError, match=r"clip\.mp4: its frames would take 0 GiB at once, cut it into parts"):
            check(clip, [GRAY])
    assert decode(clip).samples is not None


def test_header_that_has_been_probed_is_not_read_again(clip, monkeypatch):
    info = probe(clip)
    opened = []
    open_container = decoding.open_container
    monkeypatch.setattr(decoding, "open_container", lambda path: opened.append(path) or open_container(path))
    monkeypatch.setattr(decoding, "probe", lambda path: pytest.fail("probed again"))
    check_fits(clip, [GRAY], info=info)
    assert len(decode(clip, [GRAY], info=info).frames[GRAY]) == 30
    assert opened == [clip]
