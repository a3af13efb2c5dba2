from __future__ import annotations

import shutil

import numpy as np
import pytest

RATE = 16000


def words(length, seed=0):
    """Bursts of harmonics whose pitch glides, apart by pauses: an envelope that tells a delay."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / RATE
    phase = 2 * np.pi * (130 * t + 15 * t**2)
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    gate = np.convolve(np.repeat(rng.random(length // 1600 + 1) > 0.45, 1600)[:length], np.hanning(400) / 200, "same")
    return (0.1 * voice * gate + rng.normal(0, 0.001, length)).astype(np.float32)


def envelope(samples):
    from forging.codec_forgers import low_band

    power = np.convolve(low_band(samples).astype(np.float64) ** 2, np.hanning(240), "same")
    return (power / power.mean() + 1e-3) ** 0.3


def delay_ms(samples, forged):
    """The shift with the largest correlation of envelopes."""
    a, b = (e - e.mean() for e in (envelope(samples), envelope(forged)))
    shifts = range(-800, 801, 8)
    correlations = [np.dot(a[800:-800], b[800 + s : len(b) - 800 + s]) for s in shifts]
    return shifts[int(np.argmax(correlations))] / RATE * 1000


def assert_keeps_length_and_level(samples, forged):
    assert forged.shape == samples.shape
    assert forged.dtype == np.float32
    assert np.isfinite(forged).all()
    assert np.sqrt(np.mean(forged**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=0.02)


@pytest.mark.parametrize("bit_rate", [6000, 12000])
def test_opus_keeps_time_level_and_length(bit_rate):
    from forging.codec_forgers import code_opus

    samples = words(3 * RATE + 77)
    forged = code_opus(samples, bit_rate)
    assert_keeps_length_and_level(samples, forged)
    assert delay_ms(samples, forged) == pytest.approx(0, abs=1.1)
    assert np.abs(forged - samples).mean() / np.abs(samples).mean() > 0.02
    np.testing.assert_array_equal(forged, code_opus(samples, bit_rate))


def test_bit_rate_is_drawn_by_the_length():
    from forging.codec_forgers import code_opus, opus

    for length, bit_rate in ((3200, 6000), (3520, 12000)):
        np.testing.assert_array_equal(opus(words(length)), code_opus(words(length), bit_rate))


def test_narrow_codec_leaves_the_high_band():
    from forging.codec_forgers import code_opus, low_band

    noise = np.random.default_rng(0).normal(0, 0.05, RATE).astype(np.float32)
    forged = code_opus(noise, 6000)
    high, forged_high = noise - low_band(noise), forged - low_band(forged)
    assert np.corrcoef(high, forged_high)[0, 1] > 0.9


def test_silence_and_short_words_pass():
    from forging.codec_forgers import opus

    assert np.isfinite(opus(np.zeros(1600, np.float32))).all()
    assert opus(words(431)).shape == (431,)


@pytest.mark.skipif(shutil.which("c2enc") is None, reason="needs Debian's package codec2")
@pytest.mark.parametrize("mode", ["3200", "1300", "700C"])
def test_codec2_keeps_time_level_and_length(mode, tmp_path):
    from forging.codec_forgers import Codec2

    codec2 = Codec2.fetch(tmp_path)
    samples = words(3 * RATE + 77)
    forged = codec2.code(samples, mode)
    assert_keeps_length_and_level(samples, forged)
    assert delay_ms(samples, forged) == pytest.approx(0, abs=8)
    assert np.isfinite(codec2(np.zeros(1600, np.float32))).all()


def test_codec2_compensates_the_delay_of_its_programs():
    """Programs that delay by the mode's delay and change nothing else."""
    from forging.codec_forgers import CODEC2_DELAYS_MS, Codec2, low_band

    class Encoder:
        def run(self, *arguments, stdin):
            return stdin

    class Decoder:
        def run(self, mode, *arguments, stdin):
            delay = round(CODEC2_DELAYS_MS[mode] * 8)
            return bytes(2 * delay) + stdin[: -2 * delay]

    samples = words(RATE + 77)
    for mode in CODEC2_DELAYS_MS:
        forged = Codec2(Encoder(), Decoder()).code(samples, mode)
        assert np.abs(low_band(forged) - low_band(samples)).max() < 0.01
