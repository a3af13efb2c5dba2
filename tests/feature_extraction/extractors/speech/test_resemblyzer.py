from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.speech import resemblyzer as module
from avloc.feature_extraction.extractors.speech.resemblyzer import Resemblyzer, VoiceEncoder
from avloc.models.mel import mel_power


def test_a_row_is_the_network_on_the_window_around_it(one_thread):
    """Of the right loudness, alone as beside others."""
    extractor = Resemblyzer(random=True, stride=20, batch=3)
    samples = np.random.default_rng(0).normal(0, 0.003, 4 * 16000).astype(np.float32)
    (rows,) = extractor.rows([samples])
    assert (extractor.hop_s, rows.shape) == (0.2, (20, 256))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    k = 9  # 1.8 to 2.0 s; its window begins 0.7 s before and sees 160 frames
    window = samples[(9 * 20 - 70) * 160 :][: 160 * 160]
    raised = samples * np.sqrt(module.LOUDNESS / np.mean(window**2))
    mel = mel_power(torch.from_numpy(raised), module.MELS)[9 * 20 - 70 :][:160]
    with torch.inference_mode():
        expected = extractor.network(mel[None])[0].numpy()
    np.testing.assert_allclose(rows[k], expected, atol=1e-5)
    loud, _ = extractor.rows([samples * 10, samples[:100]])
    np.testing.assert_allclose(loud, rows, atol=1e-4)


def test_silence_and_short_clips_have_rows():
    extractor = Resemblyzer(random=True)
    for length, count in ((16000, 7), (2561, 2), (5, 1), (0, 0)):
        (rows,) = extractor.rows([np.zeros(length, np.float32)])
        assert rows.shape == (count, 256)
        assert np.isfinite(rows).all()


def test_weights_are_the_packages(tmp_path):
    torch.manual_seed(3)
    network = VoiceEncoder()
    path = tmp_path / "pretrained.pt"
    extra = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    torch.save({"step": 1, "model_state": network.state_dict() | extra}, path)
    extractor = Resemblyzer(weights=str(path))
    assert all(torch.equal(a, b) for a, b in zip(extractor.network.parameters(), network.parameters(), strict=True))
    assert len(extractor.weights_sha256()) == 64
    torch.save({"model_state": {"x": torch.ones(1)}}, path)
    with pytest.raises(AvlocError, match=r"pretrained\.pt: not weights of Resemblyzer \("):
        Resemblyzer(weights=str(path)).load()
    with pytest.raises(AvlocError, match="stride and batch must be at least 1, got 0, 64"):
        Resemblyzer(random=True, stride=0)
