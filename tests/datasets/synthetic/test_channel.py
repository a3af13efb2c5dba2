from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.synthetic.channel import match_channel


def band_levels_db(samples):
    """Mean power in eight bands, in dB."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return 10 * np.log10([band.mean() for band in np.array_split(power, 8)])


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(0, 0.1, 7001).astype(np.float32)


def test_spectrum_and_level_become_the_reference_s(noise):
    other = np.random.default_rng(1).normal(0, 0.02, 9003).astype(np.float32)
    tilted = np.diff(other, prepend=np.float32(0)) + 0.5 * other
    matched = match_channel(noise, tilted)
    assert matched.shape == noise.shape
    assert matched.dtype == np.float32
    assert matched.std() == pytest.approx(tilted.std(), rel=0.01)
    change, expected = (band_levels_db(x) - band_levels_db(y) for x, y in ((matched, noise), (tilted, other)))
    np.testing.assert_allclose(change - change.mean(), expected - expected.mean(), atol=0.5)


def test_matched_already_stays(noise):
    np.testing.assert_allclose(match_channel(noise, noise), noise, atol=1e-6)
    np.testing.assert_allclose(match_channel(noise, 1e-3 * noise), 1e-3 * noise, atol=1e-8)


def test_empty_bands_are_emptied_and_never_filled(noise):
    spectrum = np.fft.rfft(noise)
    spectrum[len(spectrum) // 2 :] = 0
    narrow = np.fft.irfft(spectrum, len(noise)).astype(np.float32)
    emptied = band_levels_db(match_channel(noise, narrow))
    assert emptied[5:].max() < emptied[:3].min() - 40
    filled = band_levels_db(match_channel(narrow + 1e-4 * noise, noise))
    assert filled[5:].max() < filled[:3].min() - 50


@pytest.mark.parametrize("length", [1, 2, 5000])
def test_silence(length):
    samples = np.ones(length, dtype=np.float32)
    assert not match_channel(samples, np.zeros(300, dtype=np.float32)).any()
    assert not match_channel(0 * samples, np.ones(300, dtype=np.float32)).any()
