from __future__ import annotations

from collections import Counter

import numpy as np
import pytest


def test_all_times_are_measured_in_one_epoch(tmp_path, monkeypatch):
    """A worker loads 4 batches ahead: 3 kept ones, twice 4 + 2, and 4 that it loads to the end."""
    import augmented_loading

    loaders, make_loader = [], augmented_loading.make_loader
    monkeypatch.setattr(
        augmented_loading, "make_loader", lambda *a, **k: loaders.append(make_loader(*a, **k)) or loaders[0]
    )
    times = augmented_loading.measure(tmp_path / "store", clips=5, batches=2, batch_size=2, workers=1, width=16)
    assert len(loaders[0]) == 3 + 2 * (4 + 2) + 4
    assert loaders[0].batch_sampler.epoch == 1
    assert times.step_s > 0
    assert times.load_s > 0
    assert 0 <= times.waiting < 1
    assert times.batches == 2
    assert times.ratio == pytest.approx(times.step_s / times.load_s)


def test_batches_are_augmented_and_labelled(tmp_path):
    from augmented_loading import demo_network, make_loader

    maker = demo_network(16).target_maker
    options = {"batches": 1, "batch_size": 5, "workers": 0, "target_maker": maker}
    (clean,) = make_loader(tmp_path / "a", 5, recipe=None, **options)
    (augmented,) = make_loader(tmp_path / "b", 5, recipe="strong", **options)
    assert [r.file for r in clean.records] == [r.file for r in augmented.records]
    assert sorted(r.modality for r in clean.records) == ["audio", "audio", "audio", "real", "real"]
    same = [bool((a == b).all()) for a, b in zip(clean.inputs.audio, augmented.inputs.audio, strict=True)]
    assert np.sum(same) <= 1
    assert clean.targets.positive.any()
    assert not clean.inputs.video_mask.any()


def test_clips_are_repeated_to_fill_an_epoch(tmp_path):
    """Seven batches of three from five clips: one of them 5 times, the others 4 times."""
    from augmented_loading import demo_network, make_loader

    options = {"batch_size": 3, "workers": 0, "target_maker": demo_network(16).target_maker}
    batches = [*make_loader(tmp_path / "a", 5, batches=7, recipe=None, **options)]
    files = [record.file for batch in batches for record in batch.records]
    assert [len(batch.records) for batch in batches] == [3] * 7
    assert sorted(Counter(files).values()) == [4, 4, 4, 4, 5]
