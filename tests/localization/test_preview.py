from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.feature_extraction.media.types import Clip
from avloc.localization.preview import PEAKS, PICTURES, SIDE, Preview


def parts(preview, seconds, part_s=2.0):
    """A clip whose frames say when they are, and which is loud at 1.0–1.2 s only."""
    for begin in np.arange(0, seconds, part_s):
        count = round(min(part_s, seconds - begin) * 25)
        times = begin + (np.arange(count) + 0.5) / 25
        frames = np.broadcast_to((times % 250)[:, None, None, None], (count, SIDE, SIDE, 3)).astype(np.uint8)
        sound = np.arange(count * 640) / 16_000 + begin
        samples = np.where((sound >= 1.0) & (sound < 1.2), -0.8, 0.01).astype(np.float32)
        yield Clip(Path("x"), 25, 16_000, frames={preview.format: frames}, video_start_s=begin)
        yield Clip(Path("x"), 25, 16_000, samples=samples, audio_start_s=begin)


@pytest.mark.parametrize("seconds", [3.0, 61.0, 1234.56])
def test_so_many_pictures_however_long(seconds):
    preview = Preview()
    for part in parts(preview, seconds):
        preview(part)
    assert PICTURES / 3 < len(preview.strip) <= PICTURES
    times = np.array([t for t, _ in preview.strip])
    np.testing.assert_allclose(np.diff(times), preview.interval_s, atol=0.041)
    assert times[-1] + preview.interval_s >= seconds - 0.05
    assert all(picture[0, 0, 0] == int(t % 250) for t, picture in preview.strip)
    loud = preview.loudness()
    assert len(loud) <= PEAKS + 1
    assert len(loud) * preview.peak_s == pytest.approx(seconds, abs=2 * preview.peak_s + 0.05)
    at = np.flatnonzero(loud > 0.5) * preview.peak_s
    assert at[0] == pytest.approx(1.0, abs=preview.peak_s)
    assert at[-1] <= 1.2
    assert loud.max() == pytest.approx(0.8)


def test_nothing_seen():
    preview = Preview("face")
    assert preview.format.crop == "face"
    assert preview.strip == []
    assert len(preview.loudness()) == 0
