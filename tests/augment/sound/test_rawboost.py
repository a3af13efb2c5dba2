from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import freqz

from avloc.augment.sound.rawboost import (
    ConvolutiveNoise,
    ImpulsiveNoise,
    StationaryNoise,
    draw_notches,
    filter_centred,
)


def snr_db(clean, noisy):
    clean, noisy = clean.astype(np.float64), noisy.astype(np.float64)
    return 10 * np.log10((clean**2).mean() / ((noisy - clean) ** 2).mean())


@pytest.mark.parametrize("seed", range(5))
def test_notches_are_symmetric_and_do_not_amplify(seed):
    taps = draw_notches(np.random.default_rng(seed), 5)
    assert len(taps) % 2 == 1
    assert taps == pytest.approx(taps[::-1])
    _, response = freqz(taps, worN=8192)
    assert np.abs(response).max() == pytest.approx(1, abs=0.01)
    assert np.abs(response).min() < 0.7


def test_a_centred_filter_delays_nothing():
    taps = draw_notches(np.random.default_rng(1), 5)
    impulse = np.zeros(1001)
    impulse[400] = 1
    filtered = filter_centred(impulse, taps)
    half = len(taps) // 2
    assert filtered[400 - half : 400 + half + 1] == pytest.approx(taps)
    assert filter_centred(np.ones(3), taps).shape == (3,)


def test_order_1_is_a_filter_and_higher_orders_add_harmonics():
    tone = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)  # bins of 1 Hz
    window = np.hanning(16_000)

    def level_db(samples, frequency):
        spectrum = np.abs(np.fft.rfft(samples * window))
        return 20 * np.log10(spectrum[frequency] / spectrum[400])

    for seed in range(3):
        linear = ConvolutiveNoise(order=1)(np.random.default_rng(seed), tone)
        bent = ConvolutiveNoise(order=5)(np.random.default_rng(seed), tone)
        assert level_db(linear, 1200) < -60
        assert level_db(bent, 1200) > -45


def test_the_scale_of_the_clip_scales_the_result(speech):
    loud, soft = (ConvolutiveNoise()(np.random.default_rng(1), speech * np.float32(g)) for g in (1, 0.01))
    assert soft == pytest.approx(0.01 * loud, abs=1e-6)


def test_impulses_are_as_many_and_as_large_as_stated():
    samples = np.ones(20_000, np.float32)
    noise = ImpulsiveNoise(share=0.07, gain=2)(np.random.default_rng(1), samples) - samples
    hits = noise[noise != 0]
    assert len(hits) == 1400
    assert np.abs(hits).max() <= 2
    # The product of two even numbers in [-1, 1] has a variance of 1/9 and lies below 0.1 with 33 %.
    assert hits.var() == pytest.approx(4 / 9, rel=0.15)
    assert np.mean(np.abs(hits) < 0.2) == pytest.approx(0.1 - 0.1 * np.log(0.1), abs=0.04)


def test_impulses_follow_the_signal():
    samples = np.zeros(1000, np.float32)
    samples[::2] = 0.5
    changed = ImpulsiveNoise(share=1.0)(np.random.default_rng(1), samples)
    assert not changed[1::2].any()
    assert (changed[::2] != 0.5).mean() > 0.99


@pytest.mark.parametrize("wanted_db", [10, 25, 40])
def test_the_ratio_of_stationary_noise_measured_back(wanted_db, speech):
    noisy = StationaryNoise(snr_db=wanted_db)(np.random.default_rng(1), speech)
    assert snr_db(speech, noisy) == pytest.approx(wanted_db, abs=0.1)


def test_stationary_noise_does_not_follow_the_signal():
    samples = np.zeros(32_000, np.float32)
    samples[:16_000] = 0.5
    noise = StationaryNoise(snr_db=10)(np.random.default_rng(1), samples) - samples
    assert noise[:16_000].std() == pytest.approx(noise[16_000:].std(), rel=0.05)
