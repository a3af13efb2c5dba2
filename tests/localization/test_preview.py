from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.feature_extraction.media.types import Clip
from avloc.localization.preview import MAX_PEAKS, MAX_THUMBNAILS, SIDE, Preview


def parts(preview, seconds, part_s=2.0):
    """A clip whose frames hold their time in seconds, and which is loud from 1.0 to 1.2 s only."""
    for begin_s in np.arange(0, seconds, part_s):
        count = round(min(part_s, seconds - begin_s) * 25)
        frame_times_s = begin_s + (np.arange(count) + 0.5) / 25
        values = (frame_times_s % 250)[:, None, None, None]
        frames = np.broadcast_to(values, (count, SIDE, SIDE, 3)).astype(np.uint8)
        times_s = np.arange(count * 640) / 16_000 + begin_s
        samples = np.where((times_s >= 1.0) & (times_s < 1.2), -0.8, 0.01).astype(np.float32)
        yield Clip(Path("x"), 25, 16_000, frames={preview.format: frames}, video_start_s=begin_s)
        yield Clip(Path("x"), 25, 16_000, samples=samples, audio_start_s=begin_s)


@pytest.mark.parametrize("seconds", [3.0, 61.0, 1234.56])
def test_thumbnails_and_loudness_stay_bounded(seconds):
    preview = Preview()
    for part in parts(preview, seconds):
        preview(part)
    assert MAX_THUMBNAILS / 3 < len(preview.thumbnails) <= MAX_THUMBNAILS
    times_s = np.array([thumbnail.time_s for thumbnail in preview.thumbnails])
    np.testing.assert_allclose(np.diff(times_s), preview.interval_s, atol=0.041)
    assert times_s[-1] + preview.interval_s >= seconds - 0.05
    assert all(image[0, 0, 0] == int(time_s % 250) for time_s, image in preview.thumbnails)
    loudness = preview.loudness()
    assert len(loudness) <= MAX_PEAKS + 1
    assert len(loudness) * preview.peak_s == pytest.approx(seconds, abs=2 * preview.peak_s + 0.05)
    loud_s = np.flatnonzero(loudness > 0.5) * preview.peak_s
    assert loud_s[0] == pytest.approx(1.0, abs=preview.peak_s)
    assert loud_s[-1] <= 1.2
    assert loudness.max() == pytest.approx(0.8)


def test_a_preview_without_parts_is_empty():
    preview = Preview("face")
    assert preview.format.crop == "face"
    assert preview.thumbnails == []
    assert len(preview.loudness()) == 0


def test_a_network_of_whole_frames_is_shown_the_central_square():
    assert Preview("none").format.crop == "center"


def test_loudness_starts_with_the_audio():
    preview = Preview()
    preview(Clip(Path("x"), 25, 16_000, samples=np.full(200, -0.25, np.float32), audio_start_s=3.5))
    assert preview.audio_start_s == 3.5
    assert preview.loudness() == pytest.approx([0.25, 0.25, 0.25])  # 200 samples: two peaks of 80, and a rest
