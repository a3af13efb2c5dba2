from __future__ import annotations

import pytest
import torch

from avloc.datasets.synthetic.vocoder import log_mel
from avloc.errors import AvlocError


@pytest.mark.parametrize("name", ["spectral", "transposed"])
def test_weights_are_small_and_come_back(name, tmp_path):
    from forging.vocoders import MOST_BYTES, VOCODERS, load_vocoder, save_weights

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
    from forging.vocoders import VOCODERS

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
    from forging.vocoders import load_vocoder

    with pytest.raises(AvlocError, match="no weights of the vocoder spectral; train it by train_vocoders.py"):
        load_vocoder("spectral", tmp_path)


def test_large_weights_are_refused(tmp_path):
    from forging.vocoders import SpectralVocoder, save_weights

    with pytest.raises(ValueError, match="at most 3000000 bytes, got"):
        save_weights(SpectralVocoder(width=320), tmp_path / "x.pt")


def test_wrong_factors_are_refused():
    from forging.vocoders import TransposedVocoder

    with pytest.raises(ValueError, match="multiply to 256"):
        TransposedVocoder(factors=(8, 8))
