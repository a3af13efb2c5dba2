from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avloc.augment.sound.amplitude import FADE_S, Clipping, Gain, TimeMask


@given(gain_db=st.floats(-60, 60))
def test_the_gain_measured_back(gain_db):
    samples = np.float32([0.5, -0.25, 0.125])
    changed = Gain(gain_db=gain_db)(np.random.default_rng(1), samples).astype(float)
    assert 20 * np.log10(changed / samples) == pytest.approx(gain_db, abs=1e-3)


def test_gain_does_not_clip():
    assert Gain(gain_db=20)(np.random.default_rng(1), np.float32([0.5])) == pytest.approx([5.0])


def test_only_peaks_are_clipped(speech):
    clipped = Clipping(clip_db=12)(np.random.default_rng(1), speech)
    limit = np.abs(speech).max() * 10 ** (-12 / 20)
    assert np.abs(clipped).max() == pytest.approx(limit)
    soft = np.abs(speech) < limit
    assert np.array_equal(clipped[soft], speech[soft])
    assert (np.sign(clipped) == np.sign(speech)).all()


def test_no_decibels_clip_nothing(speech):
    assert np.array_equal(Clipping(clip_db=0)(np.random.default_rng(1), speech), speech)


@pytest.mark.parametrize(("share", "pieces"), [(0.1, 1), (0.3, 3), (0.02, 7)])
def test_masks_have_their_share_and_the_rest_stays(share, pieces):
    samples = np.ones(16_000, np.float32)
    masked = TimeMask(share=share, pieces=pieces)(np.random.default_rng(6), samples)
    silent = int((masked == 0).sum())
    length = round(share * 16_000 / pieces)
    assert length <= silent <= pieces * length
    fades = 2 * pieces * int(FADE_S * 16_000)
    assert (masked == 1).sum() >= 16_000 - silent - fades
    assert np.abs(np.diff(masked)).max() <= 1 / (FADE_S * 16_000) + 1e-6  # no click


def test_a_full_mask_is_silence_and_an_empty_one_is_nothing():
    samples = np.ones(777, np.float32)
    assert not TimeMask(share=1.0)(np.random.default_rng(1), samples).any()
    assert np.array_equal(TimeMask(share=0.0)(np.random.default_rng(1), samples), samples)


def test_masks_lie_anywhere():
    samples = np.ones(1000, np.float32)
    masked = [TimeMask(share=0.1)(np.random.default_rng(seed), samples) == 0 for seed in range(200)]
    assert np.array(masked).any(axis=0)[100:-100].all()
