from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.feature_extraction.extractors.log_mel import HOP, LOG_FLOOR, MELS, N_FFT, SAMPLES_PER_FRAME, log_mel


def test_four_steps_per_frame():
    assert SAMPLES_PER_FRAME == 640 == 4 * HOP
    assert log_mel(torch.zeros(640 * 3)).shape == (MELS, 12)


def test_silence_is_the_floor():
    np.testing.assert_allclose(log_mel(torch.zeros(1000)).numpy(), np.log(LOG_FLOOR), rtol=1e-6)


@pytest.mark.parametrize("frequency_hz", [500, 2000, 5000])
def test_tone_is_loudest_in_its_band(frequency_hz):
    tone = torch.sin(2 * np.pi * frequency_hz * torch.arange(16000) / 16000)
    edges_mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), MELS + 2)  # HTK
    middles_hz = 700 * (10 ** (edges_mel[1:-1] / 2595) - 1)
    assert abs(int(log_mel(tone)[:, 50].argmax()) - np.abs(middles_hz - frequency_hz).argmin()) <= 1


def test_one_step_by_its_definition():
    """A Hann window of 321 samples around sample 160·k, its power spectrum, and the triangles of torchaudio."""
    from torchaudio.functional import melscale_fbanks

    samples = np.random.default_rng(0).normal(0, 0.1, 2000).astype(np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = np.abs(np.fft.rfft(samples[5 * 160 - 160 : 5 * 160 + 161] * window)) ** 2
    expected = np.log(power @ melscale_fbanks(N_FFT // 2 + 1, 0.0, 8000.0, MELS, 16000).numpy() + LOG_FLOOR)
    np.testing.assert_allclose(log_mel(torch.from_numpy(samples))[:, 5].numpy(), expected, atol=1e-4)
