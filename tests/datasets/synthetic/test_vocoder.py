from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from avloc.datasets.synthetic import speech_pieces, vocoder
from avloc.datasets.synthetic.vocoder import HOP, MEL_BANDS, N_FFT, SpectralVocoder, VocoderForger, log_mel


@pytest.fixture(scope="module")
def word():
    """A spoken word of a speaker that no vocoder was trained on."""
    recording = speech_pieces.load_speakers(speech_pieces.BUNDLED_SPEECH / "ru")
    return speech_pieces.cut_pieces(max(recording.values(), key=len)[0], "ru")[3].samples


@pytest.mark.parametrize("length", [256, 1000, 8192])
def test_spectrogram_has_a_frame_per_hop(length):
    mel = log_mel(torch.randn(2, length))
    assert mel.shape == (2, MEL_BANDS, -(-length // 256))


def test_impulse_lies_in_its_frame():
    samples = torch.zeros(1, 256 * 19)
    samples[0, 256 * 7 + 128] = 1
    assert int(log_mel(samples)[0].sum(0).argmax()) == 7


def test_overlap_add_inverts_the_transform():
    samples, padding = torch.randn(2, 19 * HOP), (N_FFT - HOP) // 2
    padded = functional.pad(samples, (padding, padding))
    spectrum = torch.stft(padded, N_FFT, HOP, window=torch.hann_window(N_FFT), center=False, return_complex=True)
    torch.testing.assert_close(SpectralVocoder(width=8, blocks=1)._overlap_add(spectrum), samples, atol=1e-4, rtol=0)


def test_spectrogram_after_inference_still_trains():
    vocoder._mel_filters.cache_clear()
    with torch.inference_mode():
        log_mel(torch.randn(1, 700))
    samples = torch.randn(1, 700, requires_grad=True)
    log_mel(samples).sum().backward()
    assert samples.grad.abs().sum() > 0


@pytest.mark.parametrize("length", [1, 1600, 4321])
def test_forger_keeps_length_and_level(length):
    torch.manual_seed(0)
    forger = VocoderForger(SpectralVocoder(width=8, blocks=1).eval())
    samples = np.random.default_rng(0).normal(0, 0.03, length).astype(np.float32)
    forged = forger(samples)
    assert forged.shape == samples.shape
    assert forged.dtype == np.float32
    assert np.sqrt(np.mean(forged**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=1e-3)


def test_words_of_a_telephone_stay_on_the_telephone(word):
    spectrum = np.fft.rfft(word)
    spectrum *= 1 / (1 + (np.linspace(0, 8, len(spectrum)) / 3.4) ** 12)
    narrow = np.fft.irfft(spectrum, len(word)).astype(np.float32)
    forged, genuine = (
        10 * np.log10([band.mean() for band in np.array_split(np.abs(np.fft.rfft(x)) ** 2, 8)])
        for x in (vocoder.revoice(narrow), narrow)
    )
    assert np.abs(forged - genuine)[:4].max() < 2
    assert forged[5:].max() < forged.max() - 50


def test_silence_stays_silent():
    assert not vocoder.revoice(np.zeros(4000, dtype=np.float32)).any()


def test_bundled_vocoder_speaks_the_same_word_in_other_samples(word):
    forged = vocoder.revoice(word)
    distances = []
    for network in (vocoder.bundled_forger(), VocoderForger(SpectralVocoder().eval())):
        mels = [log_mel(torch.from_numpy(x)[None]) for x in (word, network(word))]
        distances.append(float((mels[0] - mels[1]).abs().mean()))
    assert distances[0] < 0.6 < distances[1]
    assert np.abs(forged - word).mean() > 0.1 * np.abs(word).mean()
    lags = range(-40, 41)
    envelopes = [np.convolve(np.abs(x), np.ones(80), mode="same") for x in (word, forged)]
    assert abs(lags[int(np.argmax([envelopes[0] @ np.roll(envelopes[1], -lag) for lag in lags]))]) <= 20


@pytest.mark.parametrize("level", [0.01, 3.0])
def test_level_changes_nothing_but_the_level(word, level):
    np.testing.assert_allclose(vocoder.revoice(word * np.float32(level)) / level, vocoder.revoice(word), atol=2e-4)


def test_threads_change_nothing_and_stay(word):
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            forged = vocoder.revoice(word)
            assert torch.get_num_threads() == count
            np.testing.assert_array_equal(forged, vocoder.revoice(word))
            if count == 1:
                first = forged
        np.testing.assert_array_equal(forged, first)
    finally:
        torch.set_num_threads(threads)


def test_weights_are_loaded_once():
    assert vocoder.bundled_forger() is vocoder.bundled_forger()
    assert not any(p.requires_grad for p in vocoder.bundled_forger().vocoder.parameters())
