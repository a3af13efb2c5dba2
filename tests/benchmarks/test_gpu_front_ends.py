from __future__ import annotations

import pytest


def test_every_way_to_learn_is_measured():
    from gpu_front_ends import RUNS, fine_tuning
    from gpu_measures import QUICK, Setting

    rows = fine_tuning(Setting("cpu", None, QUICK, workers=1))
    assert [row.measure.split(":")[0] for row in rows[:-1]] == [
        "frozen",
        "lora",
        "lora, checkpointing",
        "all",
        "all, checkpointing",
    ]
    assert len(rows) == len(RUNS) + 1
    assert rows[-1].difference == pytest.approx(0, abs=1e-6)


def test_the_full_size_is_that_of_wavlm_base():
    from gpu_front_ends import sound_batch, speech_network
    from gpu_measures import FULL, QUICK

    network = speech_network(FULL, "lora", False)
    encoder = network.stems[0].network
    assert (encoder.config.hidden_size, len(encoder.encoder.layers)) == (768, 12)
    learned = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert learned == 12 * 4 * 8 * (768 + 768)  # layers, projections, rank
    assert sound_batch(FULL, clips=1).inputs.audio.shape == (1, 800, 160)
    assert sound_batch(QUICK).inputs.audio.shape == (2, 76, 160)
