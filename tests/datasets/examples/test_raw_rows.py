from __future__ import annotations

from dataclasses import replace

import numpy as np

from avloc.core.descriptions import ExtractorDescription
from avloc.datasets.examples.raw_rows import from_samples, holds_frames, holds_samples, to_frames, to_samples
from avloc.feature_extraction.extractors.raw_streams import Mouth, Waveform

SOUND = ExtractorDescription("waveform", "audio", hop_s=0.01, dim=160, dtype="int16")
CROPS = ExtractorDescription("mouth", "visual", hop_s=0.04, dim=25, dtype="uint8")


def test_every_sample_survives():
    rows = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16).reshape(-1, 128)
    np.testing.assert_array_equal(from_samples(to_samples(rows), 128), rows)


def test_loud_samples_are_clipped_and_not_wrapped():
    assert from_samples(np.float32([1.5, -1.5, 0.99999]), 3).tolist() == [[32767, -32768, 32767]]
    assert from_samples(np.zeros(0, np.float32), 160).shape == (0, 160)


def test_frames_are_square():
    rows = np.arange(2 * 9, dtype=np.uint8).reshape(2, 9)
    frames = to_frames(rows)
    assert frames.shape == (2, 3, 3)
    assert frames[1, 0].tolist() == [9, 10, 11]


def test_raw_streams_are_recognized():
    assert holds_samples(Waveform().describe())
    assert holds_frames(Mouth(side=24, crop="none").describe())
    for other in (CROPS, replace(SOUND, dtype="float16"), replace(SOUND, dim=80), replace(SOUND, modality="visual")):
        assert not holds_samples(other)
    for other in (SOUND, replace(CROPS, dtype="float16"), replace(CROPS, dim=24), replace(CROPS, modality="audio")):
        assert not holds_frames(other)
