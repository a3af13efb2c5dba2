from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.feature_extraction.job import device_batches, pipeline
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore


def run(root, names, store, extractors, *, shard_clips=4, **options):
    """Extract clips with toy extractors; returns the report and the store."""
    specs = tuple((f"avloc_toys.{name}", arguments) for name, arguments in extractors)
    settings = ExtractionSettings(root, specs, **options)
    report = job.extract(names, FeatureStore(store), settings, shard_clips=shard_clips)
    return report, FeatureStore(store)


def content(store, extractor):
    """All features of an extractor, in the store's order."""
    return [
        (file, store.read(extractor, file).values.tolist(), store.grid(extractor, file))
        for file in store.files(extractor)
    ]


@pytest.fixture
def expected(toys, clips, names, tmp_path):
    return content(run(clips, names, tmp_path / "expected", [("Toy", {})])[1], "toy")


@pytest.mark.parametrize(
    "options", [{"workers": 2}, {"networks_in_parent": True}, {"workers": 2, "networks_in_parent": True}]
)
def test_features_do_not_depend_on_the_place_of_work(toys, clips, names, tmp_path, expected, options):
    both = [("Toy", {}), ("Network", {})]
    report, store = run(clips, names, tmp_path / "s", both, **options)
    assert (report.done, report.failed, list(report.failures)) == (6, 1, ["broken.mp4"])
    assert content(store, "toy") == expected
    assert [file for file, *_ in expected] == names[:5]
    plain = run(clips, names, tmp_path / "plain", both)[1]
    assert content(store, "network") == content(plain, "network")
    assert store.length("network", names[4]) == 14  # in two windows


def test_a_clip_that_crashes_its_process_fails_alone(toys, clips, names, tmp_path, expected):
    report, store = run(clips, names, tmp_path / "s", [("Crash", {"frames": 12})], workers=2)
    assert list(report.failures) == [names[2], "broken.mp4"]
    assert report.failures[names[2]] == "its worker process died 3 times (signal 11)"
    assert content(store, "toy") == [row for row in expected if row[0] != names[2]]


def test_a_clip_whose_worker_was_killed_is_tried_again(toys, clips, names, tmp_path, expected):
    once = ("CrashOnce", {"frames": 12, "folder": str(tmp_path)})
    report, store = run(clips, names, tmp_path / "s", [once], workers=2)
    assert (tmp_path / "crashed").exists()
    assert list(report.failures) == ["broken.mp4"]
    assert content(store, "toy") == expected


def test_a_clip_that_hangs_is_given_up(toys, clips, names, tmp_path, expected):
    report, store = run(clips, names, tmp_path / "s", [("Hang", {"frames": 12})], workers=2, timeout_s=6)
    assert list(report.failures) == [names[2], "broken.mp4"]
    assert report.failures[names[2]] == "given up, no progress within 6 s"
    assert content(store, "toy") == [row for row in expected if row[0] != names[2]]


def test_a_slow_network_is_not_taken_for_a_hang(toys, clips, names, tmp_path, expected):
    report, store = run(clips, names[2:3], tmp_path / "s", [("Patient", {"frames": 12})], workers=1, timeout_s=6)
    assert report.failed == 0
    assert content(store, "toy") == expected[2:3]


@pytest.mark.parametrize(
    ("extractor", "reason"), [("Odd", "ZeroDivisionError: oh"), ("NotFinite", "toy gave features that are not finite")]
)
def test_a_failing_clip_fails_alone(toys, clips, names, tmp_path, expected, extractor, reason):
    report, store = run(clips, names, tmp_path / "s", [(extractor, {"frames": 12})])
    assert list(report.failures) == [names[2], "broken.mp4"]
    assert reason in report.failures[names[2]]
    assert content(store, "toy") == [row for row in expected if row[0] != names[2]]


def test_a_batch_that_is_too_large_is_halved(toys, clips, names, tmp_path):
    plain = content(run(clips, names, tmp_path / "plain", [("Network", {})])[1], "network")
    report, store = run(clips, names, tmp_path / "s", [("Network", {"together": 1})], networks_in_parent=True)
    assert report.failed == 1
    assert content(store, "network") == plain
    report, store = run(
        clips, names, tmp_path / "odd", [("Network", {"frames": 10})], networks_in_parent=True
    )  # a whole window
    assert list(report.failures) == names
    assert "network: RuntimeError: too much" in report.failures[names[0]]


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_of_waiting_streams_and_rows_is_bounded(toys, clips, names, tmp_path, monkeypatch, workers):
    """Rows count before they are computed: a network's rows can be many times larger than its input."""
    monkeypatch.setattr(pipeline, "HELD_BYTES", 40_000)
    held = []
    original = pipeline._Pipeline._held_bytes

    def recorded(self):
        held.append(original(self))
        return held[-1]

    monkeypatch.setattr(pipeline._Pipeline, "_held_bytes", recorded)
    many = [name for name in names[:5] for _ in range(9)]  # 45 clips in one shard
    both = [("Toy", {}), ("Network", {"dim": 2000})]  # 14 rows of 4 kB from 14 frames of 48 bytes
    store = run(clips, many, tmp_path / "s", both, shard_clips=100, networks_in_parent=True, workers=workers)[1]
    assert max(held) < 40_000 + 4 * 60_000 * max(1, workers)  # less than a tenth of all rows, which are 2.2 MB
    assert store.read("network", names[4]).values.shape == (14, 2000)


def test_a_long_clip_goes_to_the_device_in_parts(toys, clips, names, tmp_path, monkeypatch):
    plain = content(run(clips, names, tmp_path / "plain", [("Toy", {}), ("Network", {})])[1], "network")
    monkeypatch.setattr(pipeline, "HELD_BYTES", 600)  # less than a clip's pictures, 48 bytes each
    store = run(clips, names, tmp_path / "s", [("Toy", {}), ("Network", {})], networks_in_parent=True)[1]
    assert content(store, "network") == plain


def test_batches_depend_on_the_shard_alone(toys, clips, names, tmp_path, monkeypatch):
    sizes = []
    original = device_batches.StreamBatcher._run

    def recorded(self, batch):
        sizes.append([len(pending.stream) for pending in batch])
        original(self, batch)

    monkeypatch.setattr(device_batches.StreamBatcher, "_run", recorded)
    monkeypatch.setattr(device_batches, "BATCH_STREAMS", 3)
    for workers in (0, 2):
        sizes.clear()
        run(clips, names, tmp_path / f"s{workers}", [("Network", {})], networks_in_parent=True, workers=workers)
        # Windows of 10 rows; clips of 11 rows and more have a second one, with two rows of context on each side.
        assert [n for batch in sizes for n in batch] == [10, 10, 5, 10, 6, 10, 7, 10, 8]
        assert [len(batch) for batch in sizes] == [3, 3, 1, 2]


def test_held_rows_do_not_block_the_job(toys, clips, names, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(pipeline, "HELD_BYTES", 1)
    for options in ({"workers": 2}, {"workers": 2, "networks_in_parent": True}):
        _, store = run(clips, names, tmp_path / f"s{len(options)}", [("Toy", {}), ("Network", {})], **options)
        assert content(store, "toy") == expected


def test_clips_that_disappear_are_no_failures(toys, clips, names, tmp_path):
    """A disk is unmounted during the job: no failure is recorded, and the job resumes later."""
    away = clips.with_name("away")
    events = []

    def unmount(event):
        events.append(event)
        if len(events) == 1:
            clips.rename(away)
            clips.mkdir()  # the mount point stays

    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}),))
    with pytest.raises(AvlocError, match=r"clips: the clips are gone, 1 ä.mp4 and 0 ä.mp4 can no longer be read"):
        job.extract(names, FeatureStore(tmp_path / "s"), settings, shard_clips=2, progress=unmount)
    assert not [*(tmp_path / "s").rglob("*.h5")]
    clips.rmdir()
    with pytest.raises(AvlocError, match="can no longer be read"):  # not even the folder
        job.extract(names, FeatureStore(tmp_path / "s"), settings, shard_clips=2)
    away.rename(clips)
    assert list(job.extract(names, FeatureStore(tmp_path / "s"), settings).failures) == ["broken.mp4"]


def test_a_pipe_among_the_clips_is_not_waited_for(toys, clips, names, tmp_path):
    os.mkfifo(clips / "pipe.mp4")
    report = run(clips, ["pipe.mp4", *names], tmp_path / "s", [("Toy", {})])[0]
    assert dict(report.failures)["pipe.mp4"] == "is a device or a pipe, want a media file"
    assert (report.done, report.failed) == (7, 2)


def test_a_missing_clip_fails_alone(toys, clips, names, tmp_path):
    report = run(clips, ["no.mp4", *names], tmp_path / "s", [("Toy", {})])[0]
    assert list(report.failures) == ["no.mp4", "broken.mp4"]


def test_an_error_of_the_caller_leaves_nothing_unfinished(toys, clips, names, tmp_path):
    def progress(event):
        raise ZeroDivisionError

    for k, files in enumerate((names[:1], names[:3])):  # the shard's only clip, and the first of several
        with pytest.raises(ZeroDivisionError):
            job.extract(
                files,
                FeatureStore(tmp_path / f"s{k}"),
                ExtractionSettings(clips, (("avloc_toys.Toy", {}),)),
                progress=progress,
            )
        assert not [p for p in (tmp_path / f"s{k}").rglob("*") if ".tmp" in p.name]


FULL = """
import resource, sys, signal
from pathlib import Path
from avloc.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


def test_a_full_disk_is_one_line_and_loses_nothing_finished(clips, tmp_path, names):
    """A limit on the size of files stands for a full disk: a shard does not fit."""
    command = [
        "extract",
        "--dataset",
        "folder",
        "--root",
        str(clips),
        "--store",
        str(tmp_path / "s"),
        "--workers",
        "1",
        "--extractors",
        "logspec",
        "--shard-clips",
        "1",
    ]
    whole = subprocess.run([sys.executable, "-c", FULL, "1000000000", *command], capture_output=True, text=True)
    assert whole.returncode == 1, whole.stderr  # broken.mp4
    for path in (tmp_path / "s").rglob("*.h5"):
        path.unlink()
    # A shard without rows fits, one with them does not.
    full = subprocess.run([sys.executable, "-c", FULL, "20000", *command], capture_output=True, text=True)
    assert full.returncode == 2
    last = full.stderr.strip().splitlines()[-1]
    assert "cannot be written (" in last
    assert "the shards before it are kept" in last
    assert not [p for p in (tmp_path / "s" / "logspec").iterdir() if ".tmp" in p.name]
    again = subprocess.run([sys.executable, "-c", FULL, "1000000000", *command], capture_output=True, text=True)
    assert again.returncode == 1
    assert len(FeatureStore(tmp_path / "s").files("logspec")) == 5
    assert np.isfinite(FeatureStore(tmp_path / "s").read("logspec", names[0]).values).all()
