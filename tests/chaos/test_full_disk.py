"""Every verb that writes ends on a full disk with one line that names the file and its size, with exit code 2, and no rest.

A limit on the size of files stands in for a full disk. Full shared memory is a small file system, where the test may mount one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from avloc.cli.train import CONFIGS

SMALL_RUN = ("--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "1", "--model.model.width", "8")
RUN = """
import contextlib, io, json, resource, sys
from avloc.cli.main import main

for kilobytes, words in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, resource.RLIM_INFINITY))
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    print(json.dumps([words[0], code, errors.getvalue()]), flush=True)
"""
# The error line of each verb, after its name: the file, the reason, and the room that it needs.
LINE = re.compile(
    r"avloc \w+: error: (\S+): (cannot be written \()?the largest size of a file is reached \(ulimit -f\): the file needs "
    r"(more than )?[\d.]+ k?M?B; make room, then run the same command again.*"
)


def run(jobs, timeout_s=800):
    """Run verbs in one process, each with its limit in kilobytes: (verb, exit code, last line of its errors) of each."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        RUN,
        json.dumps([[limit, list(map(str, words))] for limit, words in jobs]),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = map(json.loads, done.stdout.splitlines())
    return [(verb, code, errors.strip().splitlines()[-1]) for verb, code, errors in results]


def test_every_verb_names_the_file_that_does_not_fit(tiny_set, tiny_store, tiny_checkpoint, tmp_path):
    metadata = tiny_set / "metadata.min.json"
    predictions = tmp_path / "predictions.json"
    files = [record["file"] for record in json.loads(metadata.read_text()) if record["split"] == "test"]
    predictions.write_text(json.dumps({file: [[0.5, 0.1, k / 999] for k in range(200, 400)] for file in files}))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(files))
    clip, out = next(tiny_set.rglob("*.mp4")), tmp_path / "out"
    dataset = ["--dataset", "lavdf", "--root", tiny_set]
    network = ["--checkpoint", tiny_checkpoint]
    run_folder = [
        "--trainer.default_root_dir",
        out / "run",
        "--trainer.enable_progress_bar",
        "false",
        "--trainer.max_epochs",
        "1",
    ]
    scoring = ["evaluate", predictions, metadata, "--protocol", "lavdf", "--split", "test"]
    training = ["train", "--config", CONFIGS / "demo.yaml", "--data.root", tiny_set, "--data.store", tiny_store]
    model = ["--model.model.width", "8", "--model.model.heads", "2", "--model.model.levels", "1"]
    jobs = [
        (4, ["synth", out / "clips", "--layout", "lavdf", "--clips", "9", "--workers", "1"]),
        (4, ["demo", "--out", out / "demo", "--clips", "9", "--workers", "1"]),
        (4, ["extract", *dataset, "--store", out / "store", "--extractors", "logmel", "--workers", "1"]),
        (4, ["store", "export", tiny_store, "--extractor", "logspec", "--out", out / "npy"]),
        (4, ["store", "merge", out / "merged", tiny_store]),
        (0, ["store", "ls", tiny_store, "--json", out / "ls.json"]),
        (4, [*training, *run_folder, *model]),
        (0, ["predict", *network, *dataset, "--store", tiny_store, "--split", "test", "--out", out / "p.json"]),
        (0, ["localize", clip, *network, "--out", out / "localized"]),
        (0, [*scoring, "--json", out / "scores.json"]),
        (4, [*scoring, "--report", out / "report.html"]),
        (4, ["submit", predictions, "--files", names, "--out", out / "submission.zip"]),
        (4, ["data", "sample", *dataset, "--out", out / "sheet.png"]),
    ]
    for verb, code, line in run(jobs):
        print(f"{verb}: exit code {code}: {line}")
        assert code == 2, (verb, line)
        assert LINE.fullmatch(line), line
        assert LINE.fullmatch(line)[1].startswith(str(out)), line
    rest = [path for path in out.rglob("*") if path.suffix in (".h5", ".npy", ".ckpt", ".png", ".zip", ".html", ".mp4")]
    assert rest == []  # nothing half, and nothing temporary


def can_mount():
    """Tell whether this process may make a namespace with a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="may not mount a file system")
@pytest.mark.parametrize(
    ("size", "batch"), [pytest.param("64k", "", marks=pytest.mark.slow), ("2048k", r" for a batch of [\d.]+ MB")]
)
def test_full_shared_memory_ends_a_training_with_one_line(tiny_set, tiny_store, tmp_path, size, batch):
    """In 64 kB the queues have no room. In 2 MB they have, but the 4.1 MB of a batch's sound have none.

    Without validation only one loader checks the room, before a worker takes any: a check while a worker allocates could see any
    number.
    """
    words = [
        "--config",
        CONFIGS / "demo.yaml",
        "--data.root",
        tiny_set,
        "--data.store",
        tiny_store,
        "--data.workers",
        "1",
    ]
    words += ["--trainer.default_root_dir", tmp_path / "run", "--trainer.limit_val_batches", "0", *SMALL_RUN]
    train = [sys.executable, "-W", "ignore", "-m", "avloc", "train", *map(str, words)]
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-Urm", "bash", "-c", script, "bash", *train]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=800,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"avloc train: error: /dev/shm: no room in the shared memory{batch}, [\d.]+ k?M?B are free; .*", last
    )
    assert not (tmp_path / "run").exists()
