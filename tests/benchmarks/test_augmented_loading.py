from __future__ import annotations

import numpy as np
import pytest


def test_all_times_are_measured(tmp_path):
    from augmented_loading import measure

    times = measure(tmp_path / "store", clips=5, batches=2, batch_size=2, workers=1, width=16)
    assert times.step_s > 0
    assert times.load_s > 0
    assert 0 <= times.waiting < 1
    assert times.batches == 2
    assert times.ratio == pytest.approx(times.step_s / times.load_s)


def test_batches_are_augmented_and_labelled(tmp_path):
    from augmented_loading import demo_network, make_loader

    maker = demo_network(16).target_maker
    options = {"batch_size": 5, "workers": 0, "target_maker": maker}
    (clean,) = make_loader(tmp_path / "a", 5, recipe=None, **options)
    (augmented,) = make_loader(tmp_path / "b", 5, recipe="strong", **options)
    assert [r.file for r in clean.records] == [r.file for r in augmented.records]
    assert sorted(r.modality for r in clean.records) == ["audio", "audio", "audio", "real", "real"]
    same = [bool((a == b).all()) for a, b in zip(clean.inputs.audio, augmented.inputs.audio, strict=True)]
    assert np.sum(same) <= 1
    assert clean.targets.positive.any()
    assert not clean.inputs.video_mask.any()
