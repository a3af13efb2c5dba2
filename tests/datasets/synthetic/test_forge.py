from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.synthetic.forge import mouth_mask, repaint_mouths, revoice


@pytest.mark.parametrize("length", [500, 1024, 5001])
def test_revoice_keeps_length_and_level(length):
    time = np.arange(length) / 16_000
    samples = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    forged = revoice(samples)
    assert forged.shape == (length,)
    assert forged.dtype == np.float32
    if length >= 1024:  # shorter ones are padded first
        assert np.sqrt((forged**2).mean()) == pytest.approx(np.sqrt((samples**2).mean()), rel=1e-4)
    np.testing.assert_array_equal(forged, revoice(samples))
    assert np.abs(forged - samples).max() > 0.01


def test_revoice_keeps_the_pitch():
    time = np.arange(16_000) / 16_000
    forged = revoice((0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32))
    assert np.argmax(np.abs(np.fft.rfft(forged))) == pytest.approx(440, abs=15)


def test_silence_stays_silent():
    assert not revoice(np.zeros(4000, dtype=np.float32)).any()


def test_mask_falls_from_the_middle_to_the_edge():
    mask = mouth_mask(31)
    assert mask.shape == (31, 31, 1)
    assert mask[15, 15] == 1
    assert mask[0].max() == mask[:, 0].max() == 0
    row = mask[15, 15:, 0]
    assert (np.diff(row) <= 0).all()


def scene():
    frames = np.zeros((3, 40, 50, 3), dtype=np.uint8)
    painted = np.random.default_rng(0).integers(0, 256, frames.shape).astype(np.uint8)
    mouths = np.array([[25.0, 20], [25, 20], [0, 0]])  # the last at the corner
    return frames, painted, mouths


def test_blending_without_a_generator_copies_the_mouth():
    frames, painted, mouths = scene()
    repaint_mouths(frames, painted, mouths, np.array([True, False, True]), side=11, shrink=1)
    np.testing.assert_array_equal(frames[0, 20, 25], painted[0, 20, 25])
    assert not frames[1].any()
    changed = np.argwhere(frames[0].any(axis=-1))
    assert (changed.min(axis=0) >= [15, 20]).all()
    assert (changed.max(axis=0) <= [25, 30]).all()
    assert frames[2, :11, :11].any()
    assert not frames[2, 11:, 11:].any()


def test_generator_loses_fine_detail():
    frames, painted, mouths = scene()
    sharp = frames.copy()
    everywhere = np.ones(3, dtype=bool)
    repaint_mouths(sharp, painted, mouths, everywhere, side=21, shrink=1)
    repaint_mouths(frames, painted, mouths, everywhere, side=21, shrink=3)
    middle = np.s_[0, 17:24, 22:29]
    assert frames[middle].std() < 0.7 * sharp[middle].std()
    assert abs(frames[middle].mean() - sharp[middle].mean()) < 25
