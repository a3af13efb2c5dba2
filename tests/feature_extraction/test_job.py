from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avloc.datasets.encode import write_mp4
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction import job
from avloc.feature_extraction.store import FeatureStore
from avloc.files import temporary_path

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


def test_a_store_belongs_to_one_set_of_clips(clips, tmp_path, frames):
    job.extract(clips, ["0 ä.mp4"], BOTH, FeatureStore(tmp_path / "s"))
    write_mp4(clips / "0 ä.mp4", frames, None)
    with pytest.raises(StoreError, match=r"was made of another 0 ä.mp4, of \d+ bytes; that in .* has \d+"):
        job.extract(clips, ["0 ä.mp4"], BOTH, FeatureStore(tmp_path / "s"))


def test_failed_clips_are_tried_again_when_asked(clips, tmp_path, frames):
    files = ["0 ä.mp4", "late.mp4"]
    store = tmp_path / "s"
    assert list(job.extract(clips, files, BOTH, FeatureStore(store)).failures) == ["late.mp4"]
    write_mp4(clips / "late.mp4", frames, None)
    assert job.extract(clips, files, BOTH, FeatureStore(store)).reused == 2
    report = job.extract(clips, files, BOTH, FeatureStore(store), retry_failed=True)
    assert (report.done, report.reused, report.failures) == (2, 0, {})
    assert FeatureStore(store).length("residual_grid", "late.mp4") == 30


def test_the_decoder_is_part_of_the_settings(clips, tmp_path):
    job.extract(clips, ["0 ä.mp4"], BOTH, FeatureStore(tmp_path / "s"), backend="decord")
    with pytest.raises(StoreError, match="decoder is 'decord' there and 'pyav' now"):
        job.extract(clips, ["0 ä.mp4"], BOTH, FeatureStore(tmp_path / "s"))


def test_unusable_weights_write_nothing(clips, tmp_path):
    weights = tmp_path / "bad.pth"
    weights.write_text("none")
    store = FeatureStore(tmp_path / "s")
    with pytest.raises(AvlocError, match="not a state dict of torchvision's r3d_18"):
        job.extract(clips, ["0 ä.mp4"], [*BOTH, ("r3d_18", {"weights": str(weights)})], store)
    assert not store.root.exists()


def test_what_a_dead_process_left_is_removed(clips, tmp_path):
    store = FeatureStore(tmp_path / "s")
    job.extract(clips, ["0 ä.mp4"], BOTH, store)
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = temporary_path(store.root / "logmel" / "00007-12345678.h5")
    left = left.with_name(left.name.replace(f".{os.getpid()}.", f".{dead.pid}."))
    mine = temporary_path(store.root / "logmel" / "00008-12345678.h5")
    left.write_text("x")
    mine.write_text("x")
    job.extract(clips, ["0 ä.mp4"], BOTH, store)
    assert not left.exists()
    assert mine.exists()  # its process runs


def test_workers_end_with_their_parent(clips, tmp_path):
    """A killed job leaves no worker behind."""
    script = (
        "import time, os, sys, multiprocessing as m\n"
        "from avloc.feature_extraction.engines import local\n"
        "if __name__ == '__main__':\n"
        "    for pid in local.run(local._nap, [0.0, 60.0, 60.0], 2):\n"
        "        print(*[c.pid for c in m.active_children()], flush=True)\n"
    )
    path = tmp_path / "job.py"
    path.write_text(script.replace("local._nap", "time.sleep"))
    parent = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
