from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import CheckpointError, MediaError
from avloc.feature_extraction import ClipArrays, FeatureStore
from avloc.inference.sources.base import Request, read_whole
from avloc.inference.sources.clip import ClipSource
from avloc.inference.streaming import Windowing


def clip(seconds: float) -> ClipArrays:
    frames = np.zeros((round(25 * seconds), 24, 32, 3), np.uint8)
    return ClipArrays(frames, np.zeros(round(16_000 * seconds), np.float32))


def test_windows_of_a_padded_clip():
    source = ClipSource(16, "pad")
    assert source.windows
    _, windows = source.open(clip(1.4), Windowing(16, 4), Request())
    spans = [(window.begin, window.example.grid.length, window.last) for window in windows]
    assert spans == [(0, 16, False), (12, 16, False), (24, 11, True)]  # 35 frames


def test_a_squeezed_clip_is_one_input():
    source = ClipSource(16, "squeeze")
    assert not source.windows
    example = read_whole(source, clip(1.0))
    assert example.grid.length == 25
    batch = source.collate([example])
    assert batch.inputs.video.shape == (1, 3, 16, 96, 96)


def test_a_clip_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("avloc.feature_extraction.media.decode.MAX_DECODED_BYTES", 100_000)
    with pytest.raises(MediaError, match="cut it into parts"):
        read_whole(ClipSource(16, "squeeze"), clip(9.0))


def test_a_store_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="takes the clips themselves, not cached features; leave out --store"):
        ClipSource(16, "pad").stored([], FeatureStore(tmp_path), allow_missing=False)
