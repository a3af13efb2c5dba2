"""`predict` and `train` are killed again and again; the result must equal that of an undisturbed run."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(words, folder):
    """Start avloc as a user does."""
    command = [sys.executable, "-W", "ignore", "-m", "avloc", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts():
    """A shell's background jobs ignore Ctrl-C, as does what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(process, timeout_s=600):
    out, errors = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, errors
    return out


def descendants(pid):
    """The processes that a process started, and theirs."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children] + [grandchild for child in children for grandchild in descendants(child)]


def parts(folder):
    return sorted(folder.glob(".p.json.journal/*.part"))


def kill_in_turn(words, folder, kills, random, wait_for_end, *, pause_s=0.0, start=start):
    """Start `words` and kill it, each time after some more parts; returns the signals and the output of the last run."""
    given = []
    while len(given) < kills:
        process, number = start(words, folder), SIGNALS[len(given) % 3]
        # The others end a Python process that still imports as they end any other.
        goal = len(parts(folder)) + int(random.integers(number is not signal.SIGKILL, 4))
        deadline = time.monotonic() + 300
        while len(parts(folder)) < goal and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(pause_s * random.random())
        workers = descendants(process.pid)
        if process.poll() is not None:  # it finished before its turn came
            return given, finished(process)
        given.append(number)
        process.send_signal(number)
        errors = process.communicate(timeout=300)[1]
        if number is not signal.SIGKILL:
            assert process.returncode == 130, errors
            assert errors.count("\n") == 1, errors
            assert "stopped; finished work is kept, run the same command again" in errors
        wait_for_end(workers)
        assert not (folder / "p.json").exists()
    return given, finished(start(words, folder), timeout_s=3600)


def test_predict_of_a_store(generated_split, tmp_path, start_avloc, wait_for_end):
    words = generated_split.write_split(tmp_path, 2000)
    finished(start_avloc([*words, "--out", "whole.json"], tmp_path))
    given, out = kill_in_turn(
        [*words, "--out", "p.json"], tmp_path, 3, np.random.default_rng(1), wait_for_end, start=start_avloc
    )
    print(f"predict: 2,000 clips of a store, killed by {', '.join(s.name for s in given)}: equal")
    assert re.fullmatch(r"p\.json: 2000 clips( \(\d+ by an earlier run\))?, 200000 rows, 0 failed\n", out)
    assert (tmp_path / "p.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_killed_prediction_leaves_no_workers(tiny_checkpoint, tiny_set, tmp_path, wait_for_end):
    """Killed while clips are decoded in worker processes."""
    words = ["predict", "--checkpoint", tiny_checkpoint, "--dataset", "lavdf", "--root", tiny_set, "--split", "train"]
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start([*words, "--out", tmp_path / "p.json", "--workers", "2"], tmp_path)
        deadline = time.monotonic() + 120
        while len(workers := descendants(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)  # two workers, and Python's resource tracker
        time.sleep(0.3)
        process.send_signal(number)
        assert "Traceback" not in process.communicate(timeout=300)[1]
        wait_for_end(workers)


def peak_megabytes(process):
    """The most memory that a process has until it ends."""
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 1e6)
        except (OSError, IndexError):
            continue
        time.sleep(0.05)
    return peak


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_predict_of_343240_clips(generated_split, tmp_path, wait_for_end):
    """AV-Deepfake1M++'s test split: killed five times, equal byte for byte, and flat in memory."""
    small, large, peaks = tmp_path / "small", tmp_path / "large", []
    for folder, clips in ((small, 256), (large, 343_240)):
        folder.mkdir()
        words = generated_split.write_split(folder, clips)
        process = start([*words, "--out", "whole.json"], folder)
        peaks.append(peak_megabytes(process))
        finished(process)
    base, peak = peaks
    print(f"predict: 343,240 clips: {peak:.0f} MB at most, of 256 clips {base:.0f} MB")
    assert peak < base + 300
    given, _ = kill_in_turn([*words, "--out", "p.json"], large, 5, np.random.default_rng(5), wait_for_end, pause_s=40.0)
    assert len(given) == 5
    print(f"killed by {', '.join(s.name for s in given)}: equal")
    assert (large / "p.json").read_bytes() == (large / "whole.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_of_predict(generated_split, tmp_path, wait_for_end):
    words = generated_split.write_split(tmp_path, 40_000)
    finished(start([*words, "--out", "whole.json"], tmp_path))
    given, _ = kill_in_turn(
        [*words, "--out", "p.json"], tmp_path, 30, np.random.default_rng(7), wait_for_end, pause_s=0.3
    )
    print(f"predict: killed {len(given)} times: equal")
    assert len(given) == 30
    assert (tmp_path / "p.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_of_train(tiny_set, tiny_store, tmp_path):
    """After each kill every checkpoint is whole; the losses are those of an undisturbed run."""
    from avloc.models.checkpoint import read_checkpoint

    words = ["train", "--config", "demo", "--data.root", tiny_set, "--data.store", tiny_store]
    words += ["--trainer.max_epochs", "40", "--trainer.enable_progress_bar", "false", "--trainer.default_root_dir"]
    finished(start([*words, "whole"], tmp_path))
    random, kills, checked = np.random.default_rng(3), 0, 0
    folder = tmp_path / "killed" / "checkpoints"
    while kills < 30:
        process = start([*words, "killed"], tmp_path)
        before, deadline = changed_at(folder), time.monotonic() + 120
        while changed_at(folder) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.3))  # some in the midst of writing
        if process.poll() is not None:
            finished(process)
            break
        process.kill()
        process.communicate()
        kills += 1
        for path in folder.glob("[!.]*.ckpt"):
            read_checkpoint(path)
            checked += 1
    finished(start([*words, "killed"], tmp_path))
    print(f"train: killed {kills} times, {checked} checkpoints whole, losses equal")
    assert kills >= 10
    assert last_loss(tmp_path / "killed") == pytest.approx(last_loss(tmp_path / "whole"), abs=1e-5)


def changed_at(folder):
    """The time of the latest change of a finished checkpoint; 0 without one."""
    try:
        return max((path.stat().st_mtime_ns for path in folder.glob("[!.]*.ckpt")), default=0)
    except FileNotFoundError:  # just replaced
        return 0


def last_loss(root):
    """The last training loss in all versions of a run's log."""
    losses = {}
    for path in sorted(root.glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name.partition("_")[2])):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row.get("train/loss"):
                losses[int(row["epoch"])] = float(row["train/loss"])
    return losses[max(losses)]
