from __future__ import annotations

import numpy as np
import pytest


def vowel(length, seed=0):
    """Harmonics of 140 Hz with a little noise."""
    t = np.arange(length) / 16000
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 30))
    return (0.1 * tone + np.random.default_rng(seed).normal(0, 0.005, length)).astype(np.float32)


@pytest.mark.parametrize("name", ["mel-griffin-lim", "lpc", "band-replication"])
def test_forged_words_keep_length_and_level_and_nothing_else(name):
    from forging.forgers import SOUND

    for length in (1600, 6417):
        samples = vowel(length)
        forged = SOUND[name](samples)
        assert forged.shape == samples.shape
        assert forged.dtype == np.float32
        assert np.isfinite(forged).all()
        assert np.sqrt(np.mean(forged**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=0.02)
        assert np.abs(forged - samples).mean() > 0.05 * np.abs(samples).mean()
        np.testing.assert_array_equal(forged, SOUND[name](samples))
    silence = SOUND[name](np.zeros(3200, np.float32))
    assert np.isfinite(silence).all()


@pytest.mark.parametrize("name", ["low-resolution", "blurred", "averaged", "coded"])
def test_mouths_are_repainted_in_place_and_in_forged_frames_only(name):
    from forging.forgers import MOUTH

    frames = np.random.default_rng(0).integers(0, 255, (7, 48, 64, 3), dtype=np.uint8)
    original, forged = frames.copy(), np.array([0, 0, 1, 1, 0, 1, 0], dtype=bool)
    MOUTH[name](frames, np.full((7, 2), [30.0, 20.0]), forged, 16, 2.2)
    np.testing.assert_array_equal(frames[~forged], original[~forged])
    changed = (frames != original).any(axis=(0, 3))
    assert changed[14:27, 24:37].mean() > 0.8
    changed[12:28, 22:38] = False
    assert not changed.any()


def test_enough_methods_are_met_in_the_test_alone():
    from forging.forgers import NEURAL, UNSEEN_MOUTH, UNSEEN_SOUND

    assert len(UNSEEN_SOUND) >= 3
    assert len(UNSEEN_MOUTH) >= 2
    assert UNSEEN_SOUND & NEURAL
    assert UNSEEN_MOUTH & NEURAL
    assert NEURAL - UNSEEN_SOUND - UNSEEN_MOUTH
