from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.media.types import BATFD_FORMAT, WHOLE, Clip, Span, VideoFormat


def test_bytes_of_a_frame():
    assert VideoFormat(5, 7, "gray").frame_bytes == 35
    assert VideoFormat(5, 7).frame_bytes == 105
    assert VideoFormat(5, 7, resize="nearest").frame_bytes == 105
    assert VideoFormat(5, 7, resize="bicubic").frame_bytes == 420  # float32
    assert BATFD_FORMAT.frame_bytes == 96 * 96 * 12


def test_whole_file_is_the_default_span():
    assert Span() == WHOLE == (0.0, float("inf"), None, 21_600.0)


def test_clip_ends_with_its_later_stream():
    frames = {VideoFormat(2, 3, "gray"): np.zeros((7, 2, 3), np.uint8)}
    clip = Clip(Path("c.mp4"), 25, 1000, frames=frames, video_start_s=0.1)
    assert clip.video_grid == TimeGrid(0.1, 0.04, 7)
    assert clip.duration_s == pytest.approx(0.38)
    clip.samples, clip.audio_start_s = np.zeros(500, np.float32), 0.2
    assert clip.duration_s == pytest.approx(0.7)


def test_empty_clip():
    clip = Clip(Path("c.mp4"), 25, 16000)
    assert clip.video_grid == TimeGrid(0.0, 0.04, 0)
    assert clip.duration_s == 0
