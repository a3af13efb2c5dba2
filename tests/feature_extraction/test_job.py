from __future__ import annotations

import numpy as np
import pytest

from avloc.datasets.encode import write_mp4
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction import job
from avloc.feature_extraction.store import FeatureStore

BOTH = [("logmel", {}), ("residual_grid", {})]


@pytest.fixture
def clips(tmp_path, frames, beep):
    root = tmp_path / "clips"
    for k in range(5):
        write_mp4(root / f"{k} ä.mp4", frames[: 10 + k], None if k == 3 else beep)
    (root / "broken.mp4").write_text("no clip")
    return root


def test_extracts_records_failures_and_resumes(clips, tmp_path):
    files = [*(f"{k} ä.mp4" for k in range(5)), "broken.mp4"]
    store, seen = FeatureStore(tmp_path / "s"), []
    report = job.extract(clips, files, BOTH, store, shard_clips=4, progress=seen.append)
    assert (report.done, report.reused, list(report.failures)) == (6, 0, ["broken.mp4"])
    assert seen == [4, 2]
    assert "cannot be opened as media" in store.failures("logmel")["broken.mp4"]
    assert [store.length("residual_grid", f) for f in files[:5]] == [10, 11, 12, 13, 14]
    assert store.length("logmel", "3 ä.mp4") == 0  # no sound: an empty stream, not a failure

    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*.h5")}
    one = next(iter(times))
    one.unlink()
    again = job.extract(clips, files, BOTH, FeatureStore(tmp_path / "s"), shard_clips=4)
    assert again.done + again.reused == 6
    assert list(again.failures) == ["broken.mp4"]
    assert {p: t for p, t in times.items() if p != one}.items() <= {
        p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*.h5")
    }.items()


def test_parts_of_a_job_array_together_are_the_job(clips, tmp_path):
    files = [f"{k} ä.mp4" for k in range(5)]
    for k in range(2):
        job.extract(clips, files, BOTH, FeatureStore(tmp_path / "parts"), shard_clips=2, part=(k, 2))
    job.extract(clips, files, BOTH, FeatureStore(tmp_path / "whole"), shard_clips=2)
    parts, whole = FeatureStore(tmp_path / "parts"), FeatureStore(tmp_path / "whole")
    for name, _ in BOTH:
        assert sorted(parts.files(name)) == sorted(whole.files(name)) == files
        for file in files:
            np.testing.assert_array_equal(parts.read(name, file).values, whole.read(name, file).values)


def test_wrong_settings_write_nothing(clips, tmp_path):
    store = FeatureStore(tmp_path / "s")
    for wrong, message in (({"part": (2, 2)}, "0 <= i < n, got 2/2"), ({"shard_clips": 0}, "at least 1 clip")):
        with pytest.raises(AvlocError, match=message):
            job.extract(clips, ["0 ä.mp4"], BOTH, store, **wrong)
    with pytest.raises(AvlocError, match="unknown extractor"):
        job.extract(clips, ["0 ä.mp4"], [*BOTH, ("x", {})], store)
    assert not store.root.exists()
    job.extract(clips, ["0 ä.mp4"], BOTH, store)
    with pytest.raises(StoreError, match="parameters is"):
        job.extract(clips, ["0 ä.mp4"], [("logmel", {"bands": 80})], store)


def test_shard_size_depends_on_the_set_only():
    assert [job.shard_size(n) for n in (1, 100, 480, 1_000_000)] == [8, 8, 30, 2000]
