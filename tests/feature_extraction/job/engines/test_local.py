from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avloc.errors import StoreError
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.engines import local
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore

TWO = functools.partial(local.run, devices=["cpu", "cpu"])


def content(store):
    return {file: store.read("toy", file).values.tolist() for file in store.files("toy")}


def test_several_devices_share_the_shards(toys, clips, names, tmp_path):
    settings = ExtractionSettings(
        clips, (("avloc_toys.Toy", {}), ("avloc_toys.Network", {})), workers=2, networks_in_parent=True
    )
    store, plain = FeatureStore(tmp_path / "s"), FeatureStore(tmp_path / "plain")
    report = job.extract(names, store, settings, shard_clips=1, engine=TWO)
    assert (report.done, list(report.failures)) == (6, ["broken.mp4"])
    job.extract(names, plain, ExtractionSettings(clips, settings.extractors), shard_clips=1)
    assert content(store) == content(plain)
    assert store.files("network") == plain.files("network") == names[:5]


def test_the_death_of_a_device_ends_the_job_after_the_others_have_finished(toys, clips, names, tmp_path):
    """The clips of the dead process are missing; the other shards are complete."""
    settings = ExtractionSettings(clips, (("avloc_toys.KillParent", {"frames": 12}),), workers=2)
    store = FeatureStore(tmp_path / "s")
    with pytest.raises(OSError, match=r"the process of cpu died \(exit code -9\); run the same again"):
        job.extract(names, store, settings, shard_clips=1, engine=TWO)
    assert names[2] not in store.files("toy")
    assert len(store.files("toy")) >= 2
    again = job.extract(
        names,
        FeatureStore(tmp_path / "s"),
        ExtractionSettings(clips, (("avloc_toys.KillParent", {"frames": 0}),)),
        shard_clips=1,
    )
    assert again.done + again.reused == 6
    assert again.reused >= 3


def test_a_shard_that_cannot_be_written_is_an_error(toys, clips, names, tmp_path):
    settings = ExtractionSettings(clips, (("avloc_toys.Toy", {}),), workers=2)

    def run(specs, settings):
        specs = list(specs)
        specs[0].paths[0].mkdir()
        yield from TWO(specs, settings)

    with pytest.raises(StoreError, match="cannot be written"):
        job.extract(names, FeatureStore(tmp_path / "s"), settings, shard_clips=3, engine=run)


JOB = """
import functools, sys, time
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.engines import local
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.job.worker import ExtractionSettings

if __name__ == "__main__":
    root, store, end = sys.argv[1:]
    files = [f"{k:0200d}.mp4" for k in range(1200)]  # none of them exists; a spec has 100 kB

    def progress(event):
        if end == "error" and store:
            raise ZeroDivisionError("ours")
        print("event", flush=True)
        if end == "stop":
            time.sleep(0.05)  # the job must not end before the signal comes

    engine = functools.partial(local.run, devices=["cpu", "cpu"])
    settings = ExtractionSettings(__import__("pathlib").Path(root), (("logmel", {}),), workers=2)
    job.extract(files, FeatureStore(store), settings, shard_clips=400, engine=engine, progress=progress)
"""


@pytest.mark.parametrize("end", ["whole", "error", "stop"])
def test_many_events_and_large_shards_and_any_end(clips, tmp_path, end):
    """However the job ends, no process is left, and only the reason is printed."""
    (tmp_path / "job.py").write_text(JOB)
    command = [sys.executable, str(tmp_path / "job.py"), str(clips), str(tmp_path / "s"), end]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, as does what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    if end == "stop":
        process.stdout.readline()
        children = [int(c) for c in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    if end == "whole":
        assert (process.returncode, out.count("event"), err) == (0, 1200 + 3, "")
    else:
        assert process.returncode != 0
        assert "BrokenPipe" not in err  # a worker that was just starting may complain
        assert ("ZeroDivisionError: ours" if end == "error" else "KeyboardInterrupt") in err
        assert not [p for p in (tmp_path / "s").rglob("*") if ".tmp" in p.name]
    if end == "stop":
        deadline = time.monotonic() + 300
        while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(os.path.exists(f"/proc/{child}") for child in children)
