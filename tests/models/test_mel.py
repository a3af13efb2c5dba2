from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.models import mel
from avloc.models.mel import mel_power


def _reference(samples, bands):
    """Mel power by plain loops: periodic Hann windows, and Slaney's triangles of unit area."""

    def hertz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    top = 15 + 27 * np.log(8) / np.log(6.4)
    edges = [hertz(top * k / (bands + 1)) for k in range(bands + 2)]
    bins = np.arange(201) * 40.0
    bank = np.zeros((201, bands))
    for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
        bank[:, band] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [samples[k : k + 400] * window for k in range(0, len(samples) - 399, 160)]
    return np.abs(np.fft.rfft(frames)) ** 2 @ bank


@pytest.mark.parametrize("bands", [40, 80])
def test_equals_plain_loops(bands):
    samples = np.random.default_rng(0).normal(0, 0.1, 4001).astype(np.float32)
    for centred, padded in ((True, np.pad(samples, 200)), (False, samples)):
        got = mel_power(torch.from_numpy(samples), bands, centred=centred).numpy()
        np.testing.assert_allclose(got, _reference(padded, bands), rtol=2e-4, atol=1e-6)


def test_can_be_trained_through_after_an_inference():
    mel._filters.cache_clear()
    with torch.inference_mode():
        mel_power(torch.zeros(800), 40)
    samples = torch.ones(800, requires_grad=True)
    mel_power(samples, 40).sum().backward()
    assert samples.grad.abs().sum() > 0
