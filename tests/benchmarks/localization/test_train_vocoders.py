from __future__ import annotations

import numpy as np
import pytest
import torch


def tone(length):
    return (0.1 * np.sin(0.05 * np.arange(length))).astype(np.float32)


def test_crops_are_loud_and_of_one_length():
    import train_vocoders

    quiet_end = np.concatenate([tone(20_000), np.zeros(200_000, np.float32)])
    batches = train_vocoders.crops([[quiet_end], [tone(3000)]], 19, np.random.default_rng(0))
    batch = next(batches)
    assert batch.shape == (19, train_vocoders.CROP)
    rms_db = 20 * batch.square().mean(dim=1).sqrt().div(train_vocoders.TRAINING_RMS).log10()
    assert rms_db.abs().max() < 6.5


def test_adversaries_score_each_sample():
    import train_vocoders

    torch.manual_seed(0)
    adversaries = train_vocoders.build_adversaries(3)
    real, voiced = torch.randn(2, 4001), torch.randn(2, 4001)
    assert len(adversaries) == 8
    assert len(train_vocoders.build_adversaries(3, periods_only=True)) == 5
    assert all(len(features) >= 5 for features in (adversary(real) for adversary in adversaries))
    assert train_vocoders.adversary_loss(adversaries, real, voiced) > 0
    same, other = (train_vocoders.vocoder_loss(adversaries, real, x) for x in (real, voiced))
    assert same < other


@pytest.mark.parametrize("name", ["spectral", "transposed"])
def test_spectral_error_falls_with_and_without_adversaries(name):
    import train_vocoders
    from forging.vocoders import SpectralVocoder, TransposedVocoder

    torch.manual_seed(0)
    network = SpectralVocoder(width=16, blocks=1) if name == "spectral" else TransposedVocoder(width=16)
    batches = train_vocoders.crops([[tone(9000)]], 2, np.random.default_rng(0))
    options = train_vocoders.Options(steps=20, batch=2, learning_rate=3e-3, warm_up=0.6, adversary_width=2)
    errors = {}
    train_vocoders.REPORT_STEPS = 2
    try:
        last = train_vocoders.train(network, batches, options, errors.__setitem__)
    finally:
        train_vocoders.REPORT_STEPS = 500
    assert [*errors] == [*range(2, 21, 2)]
    assert last == errors[20] < 0.9 * errors[2]


def test_script_writes_weights(tmp_path, monkeypatch, capsys):
    import train_vocoders

    monkeypatch.setattr(train_vocoders.materials, "fetch", lambda folder, speakers, progress: folder)
    monkeypatch.setattr(train_vocoders.materials, "load", lambda folder, name: [tone(9000)])
    arguments = ["--speech", "cache", "--out", str(tmp_path), "--steps", "2", "--batch", "1", "--device", "cpu"]
    arguments += ["--adversary-width", "2", "--warm-up", "0.5"]
    train_vocoders.main([*arguments, "--vocoders", "spectral"])
    assert [path.name for path in tmp_path.iterdir()] == ["spectral_vocoder.pt"]
    assert "spectral: mel L1" in capsys.readouterr().out
