from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from avloc.errors import AvlocError


@pytest.mark.parametrize("length", [256, 1000, 8192])
def test_spectrogram_has_a_frame_per_hop(length):
    from vocoders import MEL_BANDS, log_mel

    mel = log_mel(torch.randn(2, length))
    assert mel.shape == (2, MEL_BANDS, -(-length // 256))


def test_impulse_lies_in_its_frame():
    from vocoders import log_mel

    samples = torch.zeros(1, 256 * 19)
    samples[0, 256 * 7 + 128] = 1
    assert int(log_mel(samples)[0].sum(0).argmax()) == 7


def test_overlap_add_inverts_the_transform():
    from vocoders import HOP, N_FFT, SpectralVocoder

    samples, padding = torch.randn(2, 19 * HOP), (N_FFT - HOP) // 2
    padded = functional.pad(samples, (padding, padding))
    spectrum = torch.stft(padded, N_FFT, HOP, window=torch.hann_window(N_FFT), center=False, return_complex=True)
    torch.testing.assert_close(SpectralVocoder(width=8, blocks=1)._overlap_add(spectrum), samples, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["spectral", "transposed"])
def test_weights_are_small_and_come_back(name, tmp_path):
    from vocoders import MOST_BYTES, VOCODERS, load_vocoder, log_mel, save_weights

    torch.manual_seed(0)
    network, file = VOCODERS[name].network().eval(), VOCODERS[name].file
    mel = log_mel(0.1 * torch.randn(2, 1900))
    voiced = network(mel)
    assert voiced.shape == (2, 2048)
    save_weights(network, tmp_path / file)
    assert (tmp_path / file).stat().st_size <= 1.02 * MOST_BYTES
    torch.testing.assert_close(load_vocoder(name, tmp_path)(mel), voiced, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["spectral", "transposed"])
def test_output_is_local_in_time(name):
    """Far frames change nothing: words of any length sound alike."""
    from vocoders import VOCODERS, log_mel

    torch.manual_seed(0)
    network = VOCODERS[name].network().eval()
    mel = log_mel(0.1 * torch.randn(1, 256 * 80))
    other = mel.clone()
    other[..., 60:] += 1
    with torch.no_grad():
        difference = (network(mel) - network(other)).abs()[0]
    assert difference[: 256 * 30].max() < 1e-6
    assert difference[256 * 60 :].max() > 1e-6


def test_missing_weights_name_the_script(tmp_path):
    from vocoders import load_vocoder

    with pytest.raises(AvlocError, match="no weights of the vocoder spectral; train it by train_vocoders.py"):
        load_vocoder("spectral", tmp_path)


def test_large_weights_are_refused(tmp_path):
    from vocoders import SpectralVocoder, save_weights

    with pytest.raises(ValueError, match="at most 3000000 bytes, got"):
        save_weights(SpectralVocoder(width=320), tmp_path / "x.pt")


def test_wrong_factors_are_refused():
    from vocoders import TransposedVocoder

    with pytest.raises(ValueError, match="multiply to 256"):
        TransposedVocoder(factors=(8, 8))


def test_forger_keeps_length_and_level():
    from vocoders import SpectralVocoder, VocoderForger

    torch.manual_seed(0)
    forger = VocoderForger(SpectralVocoder(width=8, blocks=1).eval())
    samples = np.random.default_rng(0).normal(0, 0.03, 4321).astype(np.float32)
    forged = forger(samples)
    assert forged.shape == samples.shape
    assert forged.dtype == np.float32
    assert np.std(forged) == pytest.approx(np.std(samples), rel=0.02)
    assert np.isfinite(forger(np.zeros(1600, np.float32))).all()
