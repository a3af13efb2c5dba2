from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from avloc.augment.sound.bandwidth import BandLimit, Resampling
from avloc.errors import AvlocError


def tone(frequency):
    return np.sin(2 * np.pi * frequency * np.arange(16_000) / 16_000).astype(np.float32)


def gain_db(augmentation, frequency):
    samples = tone(frequency)
    changed = augmentation(np.random.default_rng(1), samples)
    return 20 * np.log10(max(1e-9, np.dot(changed[2000:-2000], samples[2000:-2000]) / (samples[2000:-2000] ** 2).sum()))


@pytest.mark.parametrize(("low", "high"), [(300, 3400), (0, 3400), (300, 8000), (1000, 1500)])
def test_the_band_passes_and_the_rest_does_not(low, high):
    limit = BandLimit(low_hz=low, high_hz=high)
    middle = (low + high) / 2
    assert gain_db(limit, middle) == pytest.approx(0, abs=0.1)
    for outside in (*([low - 150] if low else []), *([high + 200] if high < 8000 else [])):
        assert gain_db(limit, outside) < -40
    for edge in (low, high):
        if 0 < edge < 8000:
            assert gain_db(limit, edge) == pytest.approx(-6, abs=0.5)


def test_without_edges_nothing_changes(speech):
    assert np.array_equal(BandLimit(low_hz=0, high_hz=8000)(np.random.default_rng(1), speech), speech)


def test_the_band_is_that_of_another_filter(speech):
    """A Butterworth filter without phase, of another kind, keeps nearly the same."""
    sections = butter(8, [300, 3400], "bandpass", fs=16_000, output="sos")
    expected = sosfiltfilt(sections, speech.astype(float))
    assert np.corrcoef(BandLimit()(np.random.default_rng(1), speech), expected)[0, 1] > 0.99


def test_edges_in_the_wrong_order_are_refused():
    with pytest.raises(AvlocError, match="want low_hz below high_hz, got 3000 and 300"):
        BandLimit(low_hz=3000, high_hz=300)


@pytest.mark.parametrize("rate", [8000, 11_025, 12_000, 7919])
def test_resampling_leaves_the_lower_band(rate):
    resampling = Resampling(sample_rate=rate)
    assert gain_db(resampling, 0.4 * rate) == pytest.approx(0, abs=0.2)
    assert gain_db(resampling, 0.6 * rate) < -35


def test_the_same_rate_changes_nothing(speech):
    assert np.array_equal(Resampling(sample_rate=16_000)(np.random.default_rng(1), speech), speech)


@pytest.mark.parametrize("length", [1, 2, 999])
def test_lengths_that_do_not_divide(length):
    assert Resampling(sample_rate=11_025)(np.random.default_rng(1), np.ones(length, np.float32)).shape == (length,)
