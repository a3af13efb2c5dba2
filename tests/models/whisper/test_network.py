from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.mel import mel_power
from avloc.models.whisper import network as module
from avloc.models.whisper.network import MELS, EarlyLayers, build_encoder, load_encoder, log_mel, whisper_log_mel


def test_input_equals_that_of_transformers():
    from transformers import WhisperFeatureExtractor

    samples = np.random.default_rng(0).normal(0.01, 0.1, 30_001).astype(np.float32)
    expected = WhisperFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt").input_features[0]
    np.testing.assert_allclose(whisper_log_mel(torch.from_numpy(samples)), expected[:, :188], atol=1e-5)


@pytest.fixture(scope="module")
def encoder() -> EarlyLayers:
    return load_encoder().eval()


def test_streams_of_unequal_length_share_a_pass(encoder):
    mels = [log_mel(mel_power(torch.randn(320 * rows), MELS)) for rows in (9, 14, 1)]
    longest = max(mel.shape[1] for mel in mels)
    batch = torch.stack([torch.nn.functional.pad(mel, (0, longest - mel.shape[1])) for mel in mels])
    with torch.no_grad():
        together = encoder(batch, torch.tensor([9, 14, 1]), first_frame=1)
        for k, rows in enumerate((9, 14, 1)):
            for states, alone in zip(together, encoder(mels[k][None], first_frame=1), strict=True):
                assert alone.shape == (1, rows, 512)
                torch.testing.assert_close(states[k, :rows], alone[0], atol=1e-4, rtol=1e-4)


def test_rows_are_centred_on_the_even_or_the_odd_frames(encoder):
    """The frames of a stream less its first one are those of a stream that begins 10 ms later."""
    samples = torch.randn(320 * 7)
    samples[:800] = 0  # the ends of streams are mirrored, or silence
    samples[-800:] = 0
    with torch.no_grad():
        odd = encoder(log_mel(mel_power(samples, MELS))[None], first_frame=1)
        even = encoder(whisper_log_mel(samples[160:])[None])
    torch.testing.assert_close(odd[0][:, 1:-1], even[0][:, 1:-1], atol=1e-4, rtol=1e-4)
    for state, other in zip(odd[1:], even[1:], strict=True):  # which see the ends of the stream, too
        assert state.shape == (1, 7, 512)
        assert (state - other)[:, 1:-1].norm() < 0.2 * (state[:, 1:-1] - other[:, 2:]).norm()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "array", "scales", "missing"])
def test_damaged_weights_are_one_line(damage, tmp_path, monkeypatch):
    file = tmp_path / "weights" / module.WEIGHTS.name
    file.parent.mkdir()
    whole = module.WEIGHTS
    if damage == "cut":
        file.write_bytes(whole.read_bytes()[:100_000])
    elif damage == "text":
        file.write_text("no weights", encoding="utf-8")
    elif damage == "empty":
        file.touch()
    elif damage == "other":
        np.savez(file, conv=np.zeros(3))
    elif damage == "array":
        with file.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif damage == "scales":
        with np.load(whole) as arrays:
            np.savez(file, **{**arrays, "conv2.weight/scales": arrays["conv2.weight/scales"][:, :1]})
    monkeypatch.setattr(module, "WEIGHTS", file)
    with pytest.raises(AvlocError, match=r"whisper_base\.npz: not the weights of Whisper's early layers") as raised:
        load_encoder()
    assert "\n" not in str(raised.value)


def test_every_array_is_wanted():
    network = build_encoder(load_encoder().state_dict())
    assert sum(p.numel() for p in network.parameters()) == 10_365_952
    weights = dict(network.state_dict())
    with pytest.raises(RuntimeError, match="shape"):
        build_encoder({**weights, "conv1.bias": torch.zeros(3)})
    del weights["conv1.bias"]
    with pytest.raises(KeyError, match="conv1.bias"):
        build_encoder(weights)
