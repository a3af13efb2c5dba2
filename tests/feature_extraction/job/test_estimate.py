from __future__ import annotations

import pytest

from avloc.errors import StoreError
from avloc.feature_extraction.job import estimate, plan
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.plan import Plan
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

BOTH = (("logmel", {}), ("residual_grid", {"size": 32, "cells": 4}))


def test_files_are_spread():
    assert estimate.spread([str(k) for k in range(100)], 4) == ["0", "33", "66", "99"]
    assert estimate.spread(["a", "b"], 9) == ["a", "b"]
    assert estimate.spread([], 3) == []


def test_the_estimate_is_what_the_job_takes(clips, names, tmp_path):
    """Of all clips of the set, so that the room must be exact but for what HDF5 adds."""
    settings = ExtractionSettings(clips, BOTH, workers=2)
    found = estimate.estimate(names, tmp_path / "s", settings, ["logmel", "residual_grid"], sample=6)
    assert (found.clips, found.sampled, found.failed) == (6, 6, 1)
    report = job.extract(names, FeatureStore(tmp_path / "s"), ExtractionSettings(clips, BOTH))
    # The first of the sample only warms up: four of five clips stand for six.
    store = FeatureStore(tmp_path / "s")
    rows = {name: [store.length(name, file) for file in names[1:5]] for name in ("logmel", "residual_grid")}
    assert found.size_bytes["logmel"] == pytest.approx(6 / 4 * sum(rows["logmel"]) * 64 * 2)
    assert found.size_bytes["residual_grid"] == pytest.approx(6 / 4 * sum(rows["residual_grid"]) * 80 * 2)
    assert found.media_s == pytest.approx(report.media_s * 6 / 5, rel=0.3)
    assert found.wall_s == pytest.approx((found.decode_s + found.extract_s) / 2)
    assert 0 < found.decode_s < 60


def test_with_a_device_the_slower_side_counts(clips, names, tmp_path):
    settings = ExtractionSettings(clips, BOTH, workers=2, networks_in_parent=True)
    found = estimate.estimate(names[:3], tmp_path, settings, ["logmel", "residual_grid"], devices=2)
    assert found.device_s == 0  # neither runs a network: it is all for the workers
    assert found.wall_s == pytest.approx((found.decode_s + found.extract_s) / 2)
    both = ExtractionSettings(
        clips,
        (*BOTH, ("r3d_18", {"random": "true", "stride": "25", "window": "2"})),
        workers=2,
        networks_in_parent=True,
    )
    found = estimate.estimate(names[:2], tmp_path, both, ["logmel", "residual_grid", "r3d_18"], devices=2)
    assert found.wall_s == pytest.approx(max((found.decode_s + found.extract_s) / 2, found.device_s / 2))
    assert found.device_s > 0
    assert found.size_bytes["r3d_18"] == 2 * 512 * 2


def test_too_little_room_is_said_before_anything_is_done(clips, names, tmp_path, monkeypatch):
    settings = ExtractionSettings(clips, BOTH)
    store = FeatureStore(tmp_path / "s")
    needed = []
    monkeypatch.setattr(plan, "check_space", lambda root, bytes_, clips: needed.append((round(bytes_), clips)))
    for part, count in ((0, 1), 6), ((0, 2), 4), ((1, 2), 2):  # only of this part
        list(Plan(names, FeatureStore(tmp_path / str(count)), settings, shard_clips=2, array_index=part).prepare())
        assert needed[-1][1] == count
        # Five clips of 1.2 s of sound, one without; 100 rows a second of 64 and 25 of 80 numbers, two bytes each.
        assert needed[-1][0] == pytest.approx(count * (64 * 100 + 80 * 25) * 2 * 1.0, rel=0.3)
    monkeypatch.undo()
    job.extract(names, store, settings, shard_clips=2)
    next(iter(store.shards("logmel"))).unlink()
    monkeypatch.setattr(estimate, "free_bytes", lambda folder: 1000)
    with pytest.raises(StoreError, match=r"the features of 2 clips will take about 0\.0 GB, 0\.0 GB are free"):
        job.extract(names, store, settings)
    list(Plan(names, store, settings, check_room=False).prepare())
    with pytest.raises(StoreError, match="of 6 clips"):
        job.extract(names, FeatureStore(tmp_path / "new"), settings)
    assert not (tmp_path / "new").exists()


def test_nothing_readable_is_no_error(tmp_path):
    (tmp_path / "x.mp4").write_text("x")
    settings = ExtractionSettings(tmp_path, BOTH)
    assert estimate.mean_duration_s(tmp_path, ["x.mp4"]) == 0
    found = estimate.estimate(["x.mp4"], tmp_path, settings, ["logmel", "residual_grid"])
    assert (found.sampled, found.failed, found.media_s) == (1, 1, 0)
