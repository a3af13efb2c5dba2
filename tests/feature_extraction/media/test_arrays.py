from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import MediaError
from avloc.feature_extraction.media.arrays import ClipArrays, stream_arrays
from avloc.feature_extraction.media.types import VideoFormat

GRAY = VideoFormat(48, 64, "gray")


def test_frames_at_another_rate_come_on_the_clock(frames):
    parts = list(stream_arrays(ClipArrays(frames, fps=50), [GRAY], audio=False, part_s=0.16))
    assert [part.video_grid.length for part in parts if part.frames] == [4, 4, 4, 3]
    assert [part.video_start_s for part in parts if part.frames] == pytest.approx([0, 0.16, 0.32, 0.48])
    images = np.concatenate([part.frames[GRAY] for part in parts if part.frames])
    assert np.rint(images.mean(axis=(1, 2)) / 7).tolist() == list(range(1, 30, 2))  # shown at the middles of the steps
    assert (parts[-1].frames, parts[-1].samples, parts[-1].problems) == ({}, None, [])


def test_channels_are_averaged_and_resampled(beep):
    stereo = np.stack([np.repeat(beep, 3), np.zeros(3 * len(beep), np.float32)])
    parts = list(stream_arrays(ClipArrays(samples=stereo, sample_rate=48_000), part_s=0.5))
    samples = np.concatenate([part.samples for part in parts if part.samples is not None])
    assert len(samples) == pytest.approx(1.2 * 16_000, abs=20)
    loud_s = np.flatnonzero(np.abs(samples) > 0.05) / 16_000
    assert (loud_s[0], loud_s[-1]) == pytest.approx((0.5, 0.6), abs=0.01)
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.05)


def test_requested_streams_that_are_missing_are_problems(frames, beep):
    *_, last = stream_arrays(ClipArrays(frames[:2]), [GRAY])
    assert last.problems == ["no audio stream"]
    *_, last = stream_arrays(ClipArrays(samples=beep), [GRAY])
    assert last.problems == ["no video stream"]
    *_, last = stream_arrays(ClipArrays(samples=beep))
    assert last.problems == []


def test_one_frame_and_one_sample():
    parts = list(stream_arrays(ClipArrays(np.zeros((1, 6, 8, 3), np.uint8), np.zeros(1, np.float32)), [GRAY]))
    assert [part.video_grid.length for part in parts] == [1, 0, 0]
    assert [None if part.samples is None else len(part.samples) for part in parts] == [None, 1, None]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "has neither frames nor samples"),
        ({"samples": np.zeros(4, np.float32), "fps": 0}, "want fps and sample_rate > 0, got 0 and 16000"),
        ({"samples": np.zeros(4, np.float32), "sample_rate": -1}, "want fps and sample_rate > 0, got 25 and -1"),
        ({"frames": np.zeros((2, 3, 4), np.uint8)}, r"frames must be \(T, H, W, 3\) uint8, got \(2, 3, 4\) uint8"),
        ({"frames": np.zeros((2, 3, 4, 3))}, r"frames must be .* got \(2, 3, 4, 3\) float64"),
        ({"samples": np.zeros(4, np.int16)}, r"samples must be \(N,\) or \(channels, N\) of floats, got \(4,\) int16"),
        ({"samples": np.zeros((1, 2, 3))}, r"samples must be .* got \(1, 2, 3\) float64"),
    ],
)
def test_wrong_arrays_name_the_clip(arguments, problem):
    with pytest.raises(MediaError, match=f"camera: {problem}"):
        ClipArrays(**arguments, name="camera")
