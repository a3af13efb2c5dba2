"""A job and its workers are killed at random moments; the store must equal that of an undisturbed job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.datasets.synthetic.encode import write_mp4
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.shard_tables import read_tables

EXTRACTORS = ("avloc_toys.Slow", "logmel")
WITH_A_DEVICE = ("avloc_toys.Slow", "avloc_toys.Network")
JOB = """
import sys
from pathlib import Path
from avloc.feature_extraction.job import run as job
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.job.worker import ExtractionSettings

if __name__ == "__main__":
    root, store, extractors = sys.argv[1:]
    specs = [(name, {}) for name in extractors.split(",")]
    settings = ExtractionSettings(root, specs, workers=2, networks_in_parent=True)
    files = sorted(path.name for path in Path(root).iterdir())
    sys.exit(1 if job.extract(files, FeatureStore(store), settings, shard_clips=5).failed else 0)
"""


def make_clips(root, count, frames, beep):
    for k in range(count):
        write_mp4(root / f"{k:03d}.mp4", frames[: 5 + k % 9], beep if k % 4 else None)
    (root / "broken.mp4").write_text("no clip")


def start(root, store, toys, *, device):
    command = [
        sys.executable,
        "-m",
        "avloc",
        "extract",
        "--dataset",
        "folder",
        "--root",
        str(root),
        "--store",
        str(store),
        "--extractors",
        ",".join(EXTRACTORS),
        "--workers",
        "2",
        "--shard-clips",
        "5",
    ]
    if device:  # the CPU as one: the network runs in the job's process, the workers only decode
        (toys / "job.py").write_text(JOB)
        command = [sys.executable, str(toys / "job.py"), str(root), str(store), ",".join(WITH_A_DEVICE)]
    environment = os.environ | {"PYTHONPATH": str(toys)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def workers(pid):
    """The worker processes of a job."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []


def shards(store):
    return len(list(store.rglob("[0-9]*.h5")))


def content(store):
    """Everything in a store: shards, names, states, values."""
    shards = {}
    for path in sorted(store.root.rglob("[0-9]*.h5")):
        tables = read_tables(path)
        reader = FeatureStore(store.root)
        values = [
            reader.read(path.parent.name, f).values.tobytes()
            for f, s in zip(tables.files, tables.status, strict=True)
            if s == "ok"
        ]
        shards[str(path.relative_to(store.root))] = (tables.files, tables.status, tables.starts.tolist(), values)
    return shards


def survive(toys, root, count, kills, seed, *, device):
    """Kill a job and its workers `kills` times; returns the stores, and the number of kills of each."""
    files = sorted(p.name for p in root.iterdir())
    settings = ExtractionSettings(
        root, tuple((name, {}) for name in (WITH_A_DEVICE if device else EXTRACTORS)), networks_in_parent=device
    )
    reference = FeatureStore(root.parent / "reference")
    assert job.extract(files, reference, settings, shard_clips=5).failed == 1
    rng, store, killed = np.random.default_rng(seed), root.parent / "killed", {"job": 0, "worker": 0}
    deadline = time.monotonic() + 300 + 60 * kills
    process = start(root, store, toys, device=device)
    try:
        while sum(killed.values()) < kills and time.monotonic() < deadline:
            # Sometimes while it starts or resumes, mostly when some shards more are done.
            goal = shards(store) + int(rng.integers(0, 4))
            until = time.monotonic() + rng.uniform(0, 6)
            while shards(store) < goal and process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.1))
            if process.poll() is not None:  # it has finished: remove some shards, so that work is left
                for path in list(store.rglob("[0-9]*.h5"))[:: int(rng.integers(1, 4))]:
                    path.unlink()
                process = restarted(process, root, store, toys, device=device)
                continue
            if killed["worker"] < killed["job"]:
                victims = workers(process.pid)
                if not victims:
                    continue
                os.kill(int(rng.choice(victims)), signal.SIGKILL)
                killed["worker"] += 1
            else:
                process.kill()
                killed["job"] += 1
                process = restarted(process, root, store, toys, device=device)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1, errors  # broken.mp4
    finally:
        process.kill()
        process.communicate()
    return reference, FeatureStore(store), killed


def restarted(process, root, store, toys, *, device):
    process.communicate()
    return start(root, store, toys, device=device)


@pytest.mark.parametrize(
    ("count", "kills", "seed", "device"),
    [
        (39, 3, 1, False),
        pytest.param(39, 3, 3, True, marks=pytest.mark.slow),
        pytest.param(199, 20, 2, False, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param(199, 20, 4, True, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_kill_9(toys, tmp_path, frames, beep, capsys, count, kills, seed, device):
    make_clips(tmp_path / "clips", count, frames, beep)
    reference, store, killed = survive(toys, tmp_path / "clips", count, kills, seed, device=device)
    assert sum(killed.values()) == kills
    assert min(killed.values()) >= kills // 2
    assert content(store) == content(reference)
    assert main(["store", "verify", str(store.root)]) == 0
    assert "are right" in capsys.readouterr().out
    assert not list(store.root.rglob(".*.tmp*"))
