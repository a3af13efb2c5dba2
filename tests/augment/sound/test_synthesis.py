from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch

from avloc.augment.sound.synthesis import COLORS, make_babble, make_music, make_noise

LONG = 16_000 * 20


def band_db(noise, low_hz, high_hz):
    frequencies, density = welch(noise, 16_000, nperseg=4096)
    return 10 * np.log10(density[(frequencies >= low_hz) & (frequencies < high_hz)].sum())


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("length", [1, 2, 777, 16_001])
def test_noise_has_its_length_and_some_power(color, length):
    noise = make_noise(np.random.default_rng(2), color, length)
    assert noise.shape == (length,)
    assert noise.any()


@pytest.mark.parametrize(("color", "octave_db"), [("white", 3.01), ("pink", 0.0)])
def test_power_per_octave(color, octave_db):
    noise = make_noise(np.random.default_rng(2), color, LONG)
    bands = [band_db(noise, low, 2 * low) for low in (250, 500, 1000, 2000, 4000)]
    assert np.diff(bands) == pytest.approx(octave_db, abs=0.35)


def test_speech_noise_falls_as_speech_does():
    noise = make_noise(np.random.default_rng(2), "speech", LONG)
    third = 2 ** (1 / 6)
    levels = [band_db(noise, f / third, f * third) for f in (250, 500, 1000, 2000, 4000)]
    assert np.array(levels) - levels[1] == pytest.approx([-2, 0, -8, -13, -16], abs=1)


def test_hum_has_lines_at_multiples_of_the_mains():
    for seed in range(4):
        spectrum = np.abs(np.fft.rfft(make_noise(np.random.default_rng(seed), "hum", 16_000)))  # bins of 1 Hz
        lines = np.flatnonzero(spectrum > 0.01 * spectrum.max())
        mains = 50 if 50 in lines else 60
        assert lines.tolist() == [mains * k for k in range(1, 11)]


@pytest.mark.parametrize("length", [1, 1601, 48_000])
def test_babble_and_music_have_their_length(length):
    for signal in (make_babble(np.random.default_rng(1), 3, length), make_music(np.random.default_rng(1), length)):
        assert signal.shape == (length,)
        assert signal.any()
        assert np.isfinite(signal).all()


def modulation(signal):
    """The spread of the level over windows of 50 ms, against its mean."""
    powers = (signal[: LONG // 800 * 800].reshape(-1, 800) ** 2).mean(axis=1)
    return powers.std() / powers.mean()


def test_fewer_voices_are_more_modulated_and_noise_is_not():
    one, nine = (modulation(make_babble(np.random.default_rng(1), voices, LONG)) for voices in (1, 9))
    steady = modulation(make_noise(np.random.default_rng(1), "speech", LONG))
    assert one > 1.5 * nine
    assert nine > 1.2 * steady
