from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.signal import get_window

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.spectrogram import centred_frames_spectrum


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def reference_lfcc(samples, n_fft=320, filters=20, coefficients=20):
    """The definition, step by step: a window centred on each 10 ms, triangles of equal width, log, DCT-II."""
    steps = -(-len(samples) // 160)
    window = get_window("hann", n_fft)
    rows = []
    for step in range(steps):
        first = step * 160 - (n_fft - 160) // 2
        frame = np.array([samples[k] if 0 <= k < len(samples) else 0.0 for k in range(first, first + n_fft)])
        power = np.abs(np.fft.rfft(frame * window)) ** 2
        frequency = np.arange(n_fft // 2 + 1) * 16000 / n_fft
        edges = np.linspace(0, 8000, filters + 2)
        energies = [
            np.sum(power * np.interp(frequency, edges[k : k + 3], [0, 1, 0], left=0, right=0)) for k in range(filters)
        ]
        rows.append(dct(np.log(np.array(energies) + 1e-6), type=2, norm="ortho")[:coefficients])
    return np.array(rows)


@pytest.mark.parametrize(
    "settings", [{}, {"n_fft": 512, "filters": 31, "coefficients": 13}, {"filters": 7, "coefficients": 7}]
)
@pytest.mark.parametrize("samples", [1999, 160, 1])
def test_lfcc_equals_its_definition(settings, samples):
    stream = noise(samples)
    (got,) = build_extractor("lfcc", settings | {"deltas": 0}).rows([stream])
    np.testing.assert_allclose(got, reference_lfcc(stream, **settings), atol=1e-4)


def test_lfcc_differences():
    stream = noise(3000)
    (got,) = build_extractor("lfcc").rows([stream])
    assert got.shape == (19, 60)
    static, first, second = np.split(got, 3, axis=1)
    for values, difference in ((static, first), (first, second)):
        longer = np.pad(values, ((1, 1), (0, 0)), mode="edge")
        np.testing.assert_allclose(difference, (longer[2:] - longer[:-2]) / 2, atol=1e-5)
    (once,) = build_extractor("lfcc", {"deltas": "1"}).rows([stream])
    np.testing.assert_array_equal(once, got[:, :40])
    np.testing.assert_array_equal(build_extractor("lfcc").rows([noise(100)])[0][:, 20:], 0)


def test_sample_changes_exactly_the_lfcc_steps_whose_receptive_field_contains_it():
    for deltas, changed in ((0, 2), (1, 4), (2, 6)):
        extractor = build_extractor("lfcc", {"deltas": deltas})
        stream = noise(6400)
        other = stream.copy()
        other[3230] += 0.5
        (a,), (b,) = extractor.rows([stream]), extractor.rows([other])
        assert (np.abs(a - b).max(axis=1) > 0).sum() == changed
        assert extractor.receptive_field_s == pytest.approx(0.02 + 0.02 * deltas)
        reach = extractor.receptive_field_s / 2
        steps = np.flatnonzero(np.abs(a - b).max(axis=1) > 0)
        assert np.abs((steps + 0.5) * 0.01 - 3230 / 16000).max() <= reach


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"n_fft": 100}, "n_fft must be at least a hop"),
        ({"n_fft": 10**9}, "n_fft must be at most 65536, got 1000000000"),
        ({"filters": 0}, "filters must be 1 to 159, got 0"),
        ({"filters": 160}, "filters must be 1 to 159"),
        ({"coefficients": 21}, "coefficients must be 1 to 20, got 21"),
        ({"coefficients": 0}, "coefficients must be"),
        ({"deltas": 3}, "deltas must be 0, 1 or 2, got 3"),
    ],
)
def test_impossible_lfcc_settings(settings, problem):
    with pytest.raises(AvlocError, match=f"lfcc: {problem}"):
        build_extractor("lfcc", settings)


def test_spectrum_of_an_impulse_is_in_the_steps_that_see_it():
    samples = torch.zeros(800)
    samples[400] = 1.0  # the middle of step 2
    spectrum = centred_frames_spectrum(samples, n_fft=320, hop=160)
    assert spectrum.shape == (5, 161)
    np.testing.assert_allclose(spectrum[2].numpy(), 1.0, atol=1e-5)  # the window's peak, flat over frequency
    assert torch.nonzero(spectrum.sum(dim=1) > 1e-5).flatten().tolist() == [2]
    assert centred_frames_spectrum(torch.zeros(161), n_fft=512, hop=160).shape == (2, 257)


def test_logspec_of_a_tone():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    (rows,) = build_extractor("logspec").rows([tone])
    assert rows.shape == (100, 513)
    assert rows[50].argmax() == 1000 * 1024 // 16000


def test_logmel_of_silence_is_the_floor():
    (rows,) = build_extractor("logmel", {"bands": 7}).rows([np.zeros(300, np.float32)])
    np.testing.assert_allclose(rows, np.full((2, 7), np.log(0.01)), rtol=1e-6)
