from __future__ import annotations

import shutil

import pytest

from avloc.errors import StoreError
from avloc.feature_extraction.job import estimate, plan
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.plan import JobPlan
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

BOTH = (("logmel", {}), ("residual_grid", {"size": 32, "cells": 4}))


def test_evenly_spaced():
    assert estimate.evenly_spaced([str(k) for k in range(100)], 4) == ["0", "33", "66", "99"]
    assert estimate.evenly_spaced(["a", "b"], 9) == ["a", "b"]
    assert estimate.evenly_spaced([], 3) == []


def test_the_estimate_agrees_with_the_job(clips, names, tmp_path):
    """The sample has all clips, so the room must be exact but for HDF5's own."""
    settings = ExtractionSettings(clips, BOTH, workers=2)
    costs = estimate.estimate_job(names, tmp_path / "s", settings, ["logmel", "residual_grid"], sample=6)
    assert (costs.clips, costs.sampled, costs.failed) == (6, 6, 1)
    report = job.extract(names, FeatureStore(tmp_path / "s"), ExtractionSettings(clips, BOTH))
    # The first of the sample only warms up: four of five clips stand for six.
    store = FeatureStore(tmp_path / "s")
    rows = {name: [store.length(name, file) for file in names[1:5]] for name in ("logmel", "residual_grid")}
    assert costs.size_bytes["logmel"] == pytest.approx(6 / 4 * sum(rows["logmel"]) * 64 * 2)
    assert costs.size_bytes["residual_grid"] == pytest.approx(6 / 4 * sum(rows["residual_grid"]) * 80 * 2)
    assert costs.media_s == pytest.approx(report.media_s * 6 / 5, rel=0.3)
    assert costs.wall_s == pytest.approx((costs.decode_s + costs.extract_s) / 2)
    assert 0 < costs.decode_s < 60


def test_the_slower_of_device_and_workers_counts(clips, names, tmp_path):
    settings = ExtractionSettings(clips, BOTH, workers=2, networks_in_parent=True)
    costs = estimate.estimate_job(names[:3], tmp_path, settings, ["logmel", "residual_grid"], devices=2)
    assert costs.device_s == 0  # neither runs a network: it is all for the workers
    assert costs.wall_s == pytest.approx((costs.decode_s + costs.extract_s) / 2)
    both = ExtractionSettings(
        clips,
        (*BOTH, ("r3d_18", {"random": "true", "stride": "25", "window": "2"})),
        workers=2,
        networks_in_parent=True,
    )
    costs = estimate.estimate_job(names[:2], tmp_path, both, ["logmel", "residual_grid", "r3d_18"], devices=2)
    assert costs.wall_s == pytest.approx(max((costs.decode_s + costs.extract_s) / 2, costs.device_s / 2))
    assert costs.device_s > 0
    assert costs.size_bytes["r3d_18"] == 2 * 512 * 2


def test_too_little_room_is_an_error_before_any_work(clips, names, tmp_path, monkeypatch):
    settings = ExtractionSettings(clips, BOTH)
    store = FeatureStore(tmp_path / "s")
    calls = []
    monkeypatch.setattr(plan, "check_space", lambda root, bytes_, clips: calls.append((round(bytes_), clips)))
    for array_index, count in ((0, 1), 6), ((0, 2), 4), ((1, 2), 2):  # only of this task
        list(
            JobPlan(
                names, FeatureStore(tmp_path / str(count)), settings, shard_clips=2, array_index=array_index
            ).prepare()
        )
        assert calls[-1][1] == count
        # Five clips of 1.2 s of sound, one without; 100 rows a second of 64 and 25 of 80 numbers, two bytes each.
        assert calls[-1][0] == pytest.approx(count * (64 * 100 + 80 * 25) * 2 * 1.0, rel=0.3)
    monkeypatch.undo()
    job.extract(names, store, settings, shard_clips=2)
    next(iter(store.shards("logmel"))).unlink()
    monkeypatch.setattr(estimate, "free_bytes", lambda folder: 1000)
    with pytest.raises(StoreError, match=r"the features of 2 clips will take about 0\.0 GB, 0\.0 GB are free"):
        job.extract(names, store, settings)
    list(JobPlan(names, store, settings, check_room=False).prepare())
    with pytest.raises(StoreError, match="of 6 clips"):
        job.extract(names, FeatureStore(tmp_path / "new"), settings)
    assert not (tmp_path / "new").exists()


def test_unreadable_clips_are_no_error(tmp_path):
    (tmp_path / "x.mp4").write_text("x")
    settings = ExtractionSettings(tmp_path, BOTH)
    assert estimate.mean_duration_s(settings, ["x.mp4"]) == 0
    costs = estimate.estimate_job(["x.mp4"], tmp_path, settings, ["logmel", "residual_grid"])
    assert (costs.sampled, costs.failed, costs.media_s) == (1, 1, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_bombs_do_not_count(clips, bombs, workers):
    for name, bomb in bombs.items():
        shutil.copy(bomb, clips / f"{name}.mkv")
    settings = ExtractionSettings(clips, BOTH, workers=workers)
    files = ["0 ä.mp4", "long.mkv", "big.mkv", "1 ä.mp4"]
    assert estimate.mean_duration_s(settings, files) == pytest.approx(1.2, abs=0.1)
    assert estimate.mean_duration_s(ExtractionSettings(clips, BOTH, longest_s=0.5), files) == 0


def test_a_clip_that_crashes_its_process_does_not_end_the_estimate(toys, clips, names, tmp_path):
    settings = ExtractionSettings(clips, (("avloc_toys.Crash", {"frames": 12}),), workers=1)
    costs = estimate.estimate_job(names[:5], tmp_path / "s", settings, ["toy"])
    assert (costs.sampled, costs.failed) == (5, 1)
    assert costs.size_bytes["toy"] == 5 / 3 * (11 + 13 + 14) * 2 * 2
