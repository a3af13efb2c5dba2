from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def bursts():
    """Three seconds of noise below 2 kHz in bursts of 0.4 s: (47999,)."""
    noise = np.fft.rfft(np.random.default_rng(0).normal(0, 0.2, 47999))
    noise[6000:] = 0
    return (np.fft.irfft(noise, 47999) * (np.arange(47999) / 16000 % 0.7 < 0.4)).astype(np.float32)


@pytest.mark.parametrize("codec", ["opus", "mp3", "aac"])
def test_codecs_leave_everything_in_its_place(bursts, codec):
    from composing.acoustics import CODECS, transcode

    for bit_rate in CODECS[codec].bit_rates:
        coded = transcode(bursts, codec, bit_rate)
        assert coded.shape == bursts.shape
        assert not np.array_equal(coded, bursts)
        correlation = [np.vdot(bursts[20:-20], coded[20 + k : len(coded) - 20 + k]) for k in range(-20, 21)]
        assert np.argmax(correlation) == 20
        assert np.corrcoef(coded, bursts)[0, 1] > 0.9


def test_a_room_is_heard_after_the_direct_sound():
    from composing.acoustics import reverberate

    click = np.zeros(16000, np.float32)
    click[1000] = 1
    heard = reverberate(click, 0.3, 6.0, seed=3)
    np.testing.assert_allclose(heard[:1000], 0, atol=1e-6)
    assert heard[1000] == pytest.approx(1, abs=1e-5)
    assert 10 * np.log10(np.sum(heard[1001:] ** 2)) == pytest.approx(-6, abs=0.1)
    late, early = (np.sum(heard[k : k + 800] ** 2) for k in (1000 + 3000, 1000 + 600))
    assert 10 * np.log10(late / early) == pytest.approx(-60 * 2400 / 4800, abs=3)
    np.testing.assert_array_equal(heard, reverberate(click, 0.3, 6.0, seed=3))


def test_noise_has_its_level_and_colour():
    from composing.acoustics import draw_noise

    for colour in (0.0, 2.0):
        noise = draw_noise(np.random.default_rng(0), 64001, colour)
        assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-3)
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = (power[k : 2 * k].mean() for k in (4000, 16000))  # 1 to 2 and 4 to 8 kHz
        assert low / high == pytest.approx(4**colour, rel=0.1)


def test_recordings_are_drawn_and_keep_the_length(bursts):
    from composing.acoustics import Recording

    drawn = [Recording.draw(np.random.default_rng(k)) for k in range(300)]
    assert {str(each.fps) for each in drawn} == {"25", "30000/1001", "30"}
    starts = [each.video_start_s for each in drawn]
    assert min(starts) == 0
    assert max(starts) <= 0.039
    assert np.mean(np.array(starts) > 0) == pytest.approx(2 / 3, abs=0.1)
    assert {each.codec for each in drawn} == {"", "opus", "mp3", "aac"}
    for each in drawn[:8]:
        heard = each.record(np.random.default_rng(0), bursts)
        assert heard.shape == bursts.shape
        assert np.abs(heard).max() <= 1.2
        gained = 10 ** (each.gain_db / 20)
        assert np.corrcoef(heard, bursts)[0, 1] > 0.75
        assert np.vdot(heard, bursts) / np.vdot(bursts, bursts) == pytest.approx(gained, rel=0.25)
