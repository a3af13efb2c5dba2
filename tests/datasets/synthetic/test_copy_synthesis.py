from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import freqz

from avloc import augment
from avloc.datasets.synthetic import copy_synthesis
from avloc.datasets.synthetic.channel import match_channel
from avloc.datasets.synthetic.copy_synthesis import (
    METHODS,
    all_pole_envelope,
    cepstral_envelope,
    cut_frames,
    find_pitch,
    griffin_lim,
    source_filter,
)
from avloc.datasets.synthetic.speech_pieces import load_speakers


@pytest.fixture(scope="module")
def word():
    """0.9 s of recorded speech."""
    recordings = next(iter(load_speakers().values()))
    samples = max(recordings, key=len)
    middle = len(samples) // 2
    return samples[middle : middle + 14_401].astype(np.float32)


def band_levels_db(samples):
    """The level in ten bands of equal width in octaves from 100 Hz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    edges = np.geomspace(100, 6400, 11) * len(samples) / 16_000
    return np.array([10 * np.log10(power[int(a) : int(b)].mean() + 1e-9) for a, b in itertools.pairwise(edges)])


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_is_the_same_word_in_other_samples(method, word):
    for seed in range(5):
        copy = METHODS[method](word, np.random.default_rng(seed))
        assert copy.dtype == np.float32
        assert copy.shape == word.shape
        placed = match_channel(copy, word)
        assert np.abs(band_levels_db(placed) - band_levels_db(word)).mean() < 3
        assert np.square(placed - word).mean() > 0.002 * np.square(word).mean()
        # The syllables stay where they were.
        levels = [np.sqrt((np.resize(x, (45, 320)) ** 2).mean(1)) for x in (placed, word)]
        assert np.corrcoef(*levels)[0, 1] > 0.85


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", [1, 159, 1601])
def test_a_copy_has_any_length(method, length):
    samples = np.random.default_rng(1).normal(0, 0.1, length).astype(np.float32)
    copy = METHODS[method](samples, np.random.default_rng(2))
    assert copy.shape == (length,)
    assert np.isfinite(copy).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_source_gives_the_same_copy(method, word):
    first, again = (METHODS[method](word, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_does_not_depend_on_the_number_of_threads(method, word):
    threads = torch.get_num_threads()
    copies = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            copies.append([METHODS[method](word, np.random.default_rng(seed)) for seed in (2, 4)])
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*copies)


def test_a_build_without_opus_does_without_it(monkeypatch):
    assert copy_synthesis.available_methods() == tuple(METHODS)
    monkeypatch.setattr(augment, "available_codecs", lambda: ("aac",))
    assert copy_synthesis.available_methods.__wrapped__() == ("griffin-lim", "source-filter", "neural")


@pytest.mark.parametrize("method", [griffin_lim, source_filter])
def test_settings_are_drawn(method, word):
    copies = [method(word, np.random.default_rng(seed)) for seed in range(4)]
    for k, copy in enumerate(copies):
        assert all(np.square(copy - other).mean() > 1e-6 for other in copies[:k])


@pytest.mark.parametrize("period", [57, 123, 200])
def test_the_pitch_of_pulses(period):
    pulses = np.zeros(8000, np.float32)
    pulses[::period] = 1
    periods, voicing = find_pitch(pulses, 160)
    assert len(periods) == 51
    assert periods[5:-5].tolist() == [period] * 41
    assert voicing[5:-5].min() > 0.9


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    _, voicing = find_pitch(noise, 160)
    assert np.median(voicing) < 0.4
    assert find_pitch(np.zeros(500, np.float32), 100)[1].tolist() == [0.0] * 6


def test_the_all_pole_model_of_an_all_pole_spectrum_is_exact():
    """Two resonances, against scipy's frequency response."""
    poles = np.array([0.9 * np.exp(0.6j), 0.8 * np.exp(1.9j)])
    coefficients = np.poly([*poles, *poles.conj()]).real
    _, response = freqz(1, coefficients, worN=513, include_nyquist=True)
    envelope = all_pole_envelope(np.abs(response)[None] ** 2, 4)[0]
    np.testing.assert_allclose(envelope, np.abs(response), rtol=0.01)


def test_the_cepstral_envelope_keeps_slow_changes_and_drops_fast_ones():
    k = np.arange(513)
    slow, fast = 0.7 * np.cos(2 * np.pi * k * 10 / 1024), 0.5 * np.cos(2 * np.pi * k * 160 / 1024)
    envelope = cepstral_envelope(np.exp(2 * (0.3 + slow + fast))[None], 25)[0]
    np.testing.assert_allclose(np.log(envelope), 0.3 + slow, atol=1e-9)


def test_frames_are_centred_on_their_hops():
    frames = cut_frames(np.arange(1, 8, dtype=np.float32), 4, 3)
    assert frames.tolist() == [[0, 0, 1, 2], [2, 3, 4, 5], [5, 6, 7, 0]]
