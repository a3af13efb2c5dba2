from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avloc.feature_extraction.media.sampling import FramePart, FrameSampler, SampleCollector, SamplePart, clip_parts
from avloc.feature_extraction.media.types import Clip, VideoFormat

GRAY = VideoFormat(2, 3, "gray")


def collected(parts):
    """The signal, and its start, of audio frames of a constant each: (pts, samples, value)."""
    collector = SampleCollector(16000)
    for pts, count, value in parts:
        frame = av.AudioFrame.from_ndarray(np.full((1, count), value, np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, pts, Fraction(1, 16000)
        collector.push_av(frame)
    collector.finish()
    signal = list(collector.take_rest(3000))
    assert [len(p.samples) for p in signal[:-1]] == [3000] * (len(signal) - 1)
    return np.concatenate([p.samples for p in signal]), signal[0].start_s


def test_overlapping_sound_is_cut():
    samples, _ = collected(
        [(0, 8000, 0.1), (8000, 8000, 0.2), (8000, 4000, 0.3), (12000, 8000, 0.4), (20000, 4000, 0.5)]
    )
    # The third has the time stamp of the second: repeated stamps carry no information, so it is kept; the fourth overlaps.
    assert len(samples) == 24000
    assert samples[15999] == pytest.approx(0.2)
    samples, _ = collected([(0, 8000, 0.1), (8000, 8000, 0.2), (12000, 8000, 0.4)])
    assert len(samples) == 20000
    assert samples[[15990, 16010]] == pytest.approx([0.2, 0.4])


def test_repeated_time_stamps_lose_nothing():
    assert len(collected([(0, 4000, 0.1)] * 5)[0]) == 20000


def test_gap_becomes_silence_and_priming_is_cut():
    samples, start_s = collected([(-1024, 4000, 0.1), (22976, 1000, 0.2)])
    assert start_s == 0
    assert len(samples) == 22976 + 1000
    assert np.flatnonzero(np.abs(samples - 0.2) < 1e-6).tolist() == list(range(22976, 23976))
    assert np.abs(samples[2976 + 20 : 22976 - 20]).max() < 1e-3


@pytest.mark.parametrize(("rate", "channels"), [(1, 1), (16_000, 65)])
def test_frames_that_are_refused_fill_no_time(rate, channels):
    """The header of a small file may claim hours by frames that cannot be decoded: they are no sound with gaps."""
    collector = SampleCollector(16_000)
    for k in range(3):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8 * channels), np.float32), "flt", f"{channels} channels")
        frame.sample_rate, frame.pts, frame.time_base = rate, 3000 * k, Fraction(1, 1)
        with pytest.raises(ValueError, match="want "):
            collector.push_av(frame)
    collector.finish()
    assert (collector.start_s, collector.count, collector.gaps) == (None, 0, [])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_told(value):
    collector = SampleCollector(16_000)
    for k, level in enumerate((0.1, value, 0.1)):
        frame = av.AudioFrame.from_ndarray(np.full((1, 100), level, np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 100 * k, Fraction(1, 16_000)
        collector.push_av(frame)
    (part,) = collector.take_rest(300)
    assert len(part.samples) == 300
    assert np.isfinite(part.samples).all()
    assert collector.flawed == 1


def test_sound_that_starts_late():
    assert collected([(8000, 1000, 0.1)])[1] == pytest.approx(0.5)


def sampled(times, end_s=0.0, fps=25, part=4):
    """The number of the frame at each step, of frames that appear at `times`."""
    sampler = FrameSampler([GRAY], fps, end_s)
    for k, time_s in enumerate(times):
        sampler.push(time_s, {GRAY: np.full((2, 3), k, np.uint8)}, None)
    sampler.finish()
    return [int(v) for _, images, _ in sampler.take_rest(part) for v in images[GRAY][:, 0, 0]]


def test_frames_fall_onto_the_clock():
    assert sampled([0, 0.04, 0.08]) == [0, 1, 2]
    assert sampled([0, 0.1, 0.14]) == [0, 0, 1, 2]
    assert sampled([0.0]) == [0]
    assert sampled([]) == []


def test_impossible_time_stamps_are_not_trusted():
    assert sampled([0, 0.04, 1e9, 0.12]) == [0, 1, 2, 3]
    assert len(sampled([0, 0.04, 500.0, 0.12], end_s=0.2)) <= 5
    assert len(sampled([0, 9.0], end_s=0.2)) == 450  # a header may be a little off, and a picture may stand still


class Rotated:
    """A frame of PyAV's whose file says that it is rotated: 40 × 20, its left half bright."""

    pts, time_base, duration = 0, Fraction(1, 25), 1

    def __init__(self, rotation):
        rgb = np.full((20, 40, 3), 20, np.uint8)
        rgb[:, :20] = 220
        self.frame, self.rotation = av.VideoFrame.from_ndarray(rgb, format="rgb24"), rotation
        self.width, self.height = 40, 20


@pytest.mark.parametrize("crop", ["none", "center", "face", "mouth"])
@pytest.mark.parametrize("resize", ["swscale", "nearest", "bicubic"])
@pytest.mark.parametrize(("rotation", "bright"), [(0, "left"), (-90, "top"), (90, "bottom"), (180, "right")])
def test_rotated_frames_are_cropped_upright(monkeypatch, crop, resize, rotation, bright):
    f = VideoFormat(12, 12, resize=resize, crop=crop)
    sampler = FrameSampler([f], 25)
    scaled = sampler.reformatters.scaled
    monkeypatch.setattr(
        sampler.reformatters, "scaled", lambda frame, *rest: scaled(getattr(frame, "frame", frame), *rest)
    )
    sampler.push_av(Rotated(rotation))
    sampler.finish()
    ((_, images, faceless),) = sampler.take_rest(5)
    image = images[f][0].mean(axis=-1) * (255 if resize == "bicubic" else 1)
    halves = {"left": image[:, :5], "right": image[:, 7:], "top": image[:5], "bottom": image[7:]}
    dark = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[bright]
    assert halves[bright].mean() == pytest.approx(220, abs=8)
    assert halves[dark].mean() == pytest.approx(20, abs=8)
    assert faceless == (crop in ("face", "mouth"))


def test_very_short_and_very_long_frames_keep_their_times_with_a_face():
    formats = [VideoFormat(12, 12, crop="face"), VideoFormat(4, 4, "gray")]
    sampler = FrameSampler(formats, 25)
    for k, time_s in enumerate([0, 0.01, 0.04, 0.5, 0.54]):
        frame = av.VideoFrame.from_ndarray(np.full((24, 30, 3), 40 * k, np.uint8), format="rgb24")
        frame.pts, frame.time_base = round(time_s * 100), Fraction(1, 100)
        sampler.push_av(frame)
    sampler.finish()
    parts = list(sampler.take_rest(6))
    assert [p.faceless for p in parts] == [6, 6, 2]
    for f in formats:
        levels = np.concatenate([p.images[f].reshape(len(p.images[f]), -1).mean(axis=1) for p in parts])
        assert np.rint(levels / 40).tolist() == [1, *[2] * 11, 3, 4]


def test_signal_ends_with_the_clock():
    collector = SampleCollector(16000, from_s=0.25, to_s=0.75)
    frame = av.AudioFrame.from_ndarray(np.full((1, 8000), 0.5, np.float32), format="fltp", layout="mono")
    for k in range(3):
        frame.sample_rate, frame.pts, frame.time_base = 16000, 8000 * k, Fraction(1, 16000)
        collector.push_av(frame)
        assert collector.ended == (k > 0)
    (part,) = collector.take_rest(99_999)
    assert (part.start_s, len(part.samples)) == (0.25, 8000)


def test_parts_of_a_clip_share_its_problems():
    whole = Clip(Path("c.mp4"), 25, 16000, problems=["no audio stream"])
    images = {GRAY: np.zeros((2, 2, 3), np.uint8)}
    first, second = clip_parts(whole, [FramePart(0.4, images, 1)], [SamplePart(0.5, np.zeros(3, np.float32))])
    assert (first.video_start_s, first.frames, first.faceless_frames, first.samples) == (0.4, images, 1, None)
    assert (second.audio_start_s, len(second.samples), second.frames) == (0.5, 3, {})
    assert first.problems is second.problems is whole.problems


def test_first_frame_without_a_time_is_at_0():
    sampler = FrameSampler([GRAY], 25)
    for k in range(3):
        sampler.push(None, {GRAY: np.full((2, 3), k, np.uint8)}, 0.04)
    sampler.finish()
    (part,) = sampler.take_rest(9)
    assert (part.start_s, part.images[GRAY][:, 0, 0].tolist()) == (0, [0, 1, 2])


def picture_gaps(times, lost=(), from_s=0.0, to_s=float("inf")):
    sampler = FrameSampler([GRAY], 25, from_s=from_s, to_s=to_s)
    for time_s in sorted([*times, *lost]):
        if time_s in lost:
            sampler.lose(time_s)
        else:
            sampler.push(time_s, {GRAY: np.zeros((2, 3), np.uint8)}, 0.04)
    sampler.finish()
    return [(round(start_s, 6), round(end_s, 6)) for start_s, end_s in sampler.gaps]


def test_long_time_without_frames_is_a_gap_and_a_standing_picture_is_none():
    assert picture_gaps([0, 0.04, 0.9, 0.94]) == []
    assert picture_gaps([0, 0.04, 2.0, 2.04]) == [(0.08, 2.0)]
    assert picture_gaps([0, 0.04, 2.0, 2.04], from_s=1.5) == [(1.5, 2.0)]
    assert picture_gaps([0, 0.04, 2.0, 2.04], to_s=1.5) == [(0.08, 1.5)]
    assert picture_gaps([0, 0.04, 2.0, 2.04], from_s=3.0) == []


def test_lost_frames_leave_a_gap_even_if_it_is_short():
    assert picture_gaps([0, 0.04, 0.24], lost=[0.08, 0.12, 0.16]) == [(0.08, 0.24)]
    assert picture_gaps([0, 0.04, 0.12], lost=[0.08]) == []  # a step or two are concealed
    assert picture_gaps([0, 0.04, 0.12, 0.4], lost=[0.08]) == []


def test_gap_in_the_sound_is_noted():
    collector = SampleCollector(16000, from_s=0.5, to_s=2.5)
    for pts, count in ((0, 16_000), (16_400, 1_000), (32_000, 1_000), (48_000, 1_000)):
        frame = av.AudioFrame.from_ndarray(np.full((1, count), 0.5, np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, pts, Fraction(1, 16000)
        collector.push_av(frame)
    collector.lose(None)  # shows in the times
    collector.finish()
    # 25 ms are jitter; the last gap ends with the span.
    assert [gap.end_s for gap in collector.gaps] == [2.0, 2.5]
    assert [gap.start_s for gap in collector.gaps] == pytest.approx([1.0625, 2.0625], abs=0.026)
