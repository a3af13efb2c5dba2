from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.models.front_ends.spectrogram import SpectrogramFrontEnd, spectrogram_planes

N_FFT, RATE = 512, 16000


def tone(hertz, samples=3200):
    return torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / RATE)[None]


def test_the_magnitude_is_that_of_logspec():
    samples = np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32)
    planes = spectrogram_planes(torch.from_numpy(samples)[None], 1024)
    (rows,) = build_extractor("logspec").rows([samples])
    np.testing.assert_allclose(planes[0, 0].numpy(), rows, atol=1e-4)


@pytest.mark.parametrize("hertz", [1000.0, 1007.0, 3021.5])
def test_the_second_plane_is_the_frequency_of_a_tone(hertz):
    """In half widths of a tone (two bins of 31.25 Hz), relative to the bin's own frequency."""
    frequency = spectrogram_planes(tone(hertz), N_FFT)[0, 1, 8]
    bins = torch.arange(len(frequency))
    nearest = round(hertz * N_FFT / RATE)
    expected = (hertz * N_FFT / RATE - bins[nearest - 1 : nearest + 2]) / 2
    torch.testing.assert_close(frequency[nearest - 1 : nearest + 2], expected.double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("offset", [-100, 0, 31])
def test_the_third_plane_is_the_time_of_a_click(offset):
    """In half windows (256 samples) after the middle of the row."""
    samples = torch.zeros(1, 3200, dtype=torch.float64)
    samples[0, 8 * 160 + 80 + offset] = 0.5
    delay = spectrogram_planes(samples, N_FFT)[0, 2, 8]
    torch.testing.assert_close(delay, torch.full_like(delay, offset / 256), atol=1e-4, rtol=0)


def test_silence_has_no_phase():
    planes = spectrogram_planes(torch.zeros(1, 480), N_FFT)
    assert not planes[:, 1:].any()
    torch.testing.assert_close(planes[:, 0], torch.full((1, 3, 257), np.log(1e-3)).float())


def test_a_shorter_window_is_padded():
    """Every second bin of a transform of twice the length is a bin of the window's own transform."""
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, 1600)))
    padded = spectrogram_planes(samples, 2 * 320, window_samples=320)
    torch.testing.assert_close(padded[..., ::2], spectrogram_planes(samples, 320))


def test_strides_are_centred():
    """With even filters, maps played backwards give the rows backwards: no layer shifts the time."""
    torch.manual_seed(0)
    network = SpectrogramFrontEnd(rows_per_step=4.0, width=5, n_fft=160, channels=2, differences=False).network.eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_((module.weight + module.weight.flip(-2)) / 2)
        x, mask = torch.randn(2, 3, 28, 81), torch.ones(2, 28, dtype=torch.bool)
        torch.testing.assert_close(network(x.flip(2), mask).flip(1), network(x, mask), atol=1e-5, rtol=1e-5)


def test_the_first_layers_stride():
    """Rows of 10 ms at steps of 40 ms: the maps are at the rate of 20 ms behind the first layer, of 40 ms behind the second."""
    assert SpectrogramFrontEnd(rows_per_step=4.0, width=8, channels=2).network.time_strides == (2, 2, 1)


@pytest.mark.parametrize(("phase", "planes"), [(True, 5), (False, 3)])
def test_differences_are_planes_of_their_own(phase, planes):
    """A tone that is switched on half a second in has a large step there, and none before."""
    options = {"rows_per_step": 4.0, "width": 8, "n_fft": 512, "channels": 2, "phase": phase}
    front_end = SpectrogramFrontEnd(**options, differences=True).eval()
    received = []
    front_end.network.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    sound = tone(1000, 16000)[0] * (torch.arange(16000) >= 8000)
    x, mask = (20000 * sound).short().view(1, 100, 160), torch.ones(1, 100, dtype=torch.bool)
    with torch.no_grad():
        front_end.encode(x, mask)
    assert received[0].shape == (1, planes, 100, 257)
    in_time = received[0][0, 1, :, 32]
    assert in_time[49:51].min() > 10 * in_time[:45].max()
    assert SpectrogramFrontEnd(**options, differences=False).network.convs[0].in_channels == planes - 2


def test_several_windows_have_planes_of_their_own():
    """Two tones 50 Hz apart: a window of 128 ms shows them apart, one of 20 ms together."""
    options = {"n_fft": 2048, "channels": 2, "differences": False, "windows": (2048, 320)}
    front_end = SpectrogramFrontEnd(rows_per_step=4.0, width=8, **options).eval()
    received = []
    front_end.network.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    front_end.norm = torch.nn.Module()
    front_end.norm.forward = lambda magnitude, mask: magnitude
    sound = (tone(1000, 16000)[0] + tone(1050, 16000)[0]) / 2
    x, mask = (20000 * sound).short().view(1, 100, 160), torch.ones(1, 100, dtype=torch.bool)
    with torch.no_grad():
        front_end.encode(x, mask)
    assert received[0].shape == (1, 6, 100, 1025)
    bins = [round(hertz * 2048 / RATE) for hertz in (1000, 1025, 1050)]
    long, short = received[0][0, 0, 48, bins], received[0][0, 3, 48:56, bins].max(0).values
    assert min(long[0], long[2]) > long[1] + 2
    assert (short - short[1]).abs().max() < 1
    assert front_end.options["windows"] == [2048, 320]


def test_wrong_options():
    with pytest.raises(AvlocError, match=r"windows\[1\] must be 160 to 512, got 1024"):
        SpectrogramFrontEnd(rows_per_step=4.0, width=8, n_fft=512, windows=(512, 1024))
    with pytest.raises(AvlocError, match="windows must be a list of whole numbers, got 512"):
        SpectrogramFrontEnd(rows_per_step=4.0, width=8, windows=512)
    with pytest.raises(AvlocError, match="n_fft must be 160 to 8192, got 100"):
        SpectrogramFrontEnd(rows_per_step=4.0, width=8, n_fft=100)
    with pytest.raises(AvlocError, match="its options give 311296 numbers per row, want at most 32768"):
        SpectrogramFrontEnd(rows_per_step=4.0, width=8, n_fft=8192, channels=512)
    with pytest.raises(AvlocError, match="n_fft must be even"):
        SpectrogramFrontEnd(rows_per_step=4.0, width=8, n_fft=321)
