"""Damaged clips and bombs through `localize` and `predict`: every clip is accounted for, and the run ends by itself."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time

import pytest

from avloc.cli.main import main

COUNTS = [14, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
NOT_UTF8 = os.fsdecode(b"caf\xe9 \xff.mp4")


@pytest.fixture
def folder(mutated_clips, tmp_path, bombs, request):
    """A folder of damaged clips and bombs, of which one has a name that is not UTF-8."""
    root = tmp_path / "clips"
    root.mkdir()
    clips = mutated_clips(request.param)
    for clip in clips:
        shutil.copy(clip, root)
    shutil.copy(clips[0], root / NOT_UTF8)
    for name, bomb in bombs.items():
        shutil.copy(bomb, root / f"bomb {name}.mkv")
    return root


@pytest.mark.parametrize("folder", COUNTS, indirect=True)
def test_localize(folder, tiny_checkpoint, tmp_path, capfd):
    out, began = tmp_path / "out", time.monotonic()
    clips = {path.name for path in folder.iterdir()}
    words = [str(folder), "--checkpoint", str(tiny_checkpoint), "--out", str(out), "--format", "json"]
    assert main(["localize", *words, "--workers", "2", "--timeout", "60"]) == 1
    captured = capfd.readouterr()
    errors = captured.err.count("avloc localize: error: ")
    documents = [path for path in out.rglob("*.json")]
    print(
        f"\nlocalize: {len(clips)} damaged clips and bombs: {len(documents)} localized, {errors} refused, "
        f"{time.monotonic() - began:.0f} s"
    )
    assert 0 < errors < len(clips)
    assert len(documents) + errors == len(clips)
    assert "Traceback" not in captured.err
    with (out / "summary.csv").open(encoding="utf-8", errors="surrogateescape") as file:
        assert len(list(csv.DictReader(file))) == len(clips)
    for path in documents:
        assert json.loads(path.read_text())["duration"] > 0


@pytest.mark.parametrize("folder", COUNTS, indirect=True)
def test_predict(folder, tiny_checkpoint, tmp_path, capfd):
    out, began = tmp_path / "p.json", time.monotonic()
    clips = {path.name for path in folder.iterdir()}
    words = ["--checkpoint", str(tiny_checkpoint), "--dataset", "folder", "--root", str(folder), "--split", "all"]
    assert main(["predict", *words, "--out", str(out), "--workers", "2", "--timeout", "60"]) == 1
    errors = capfd.readouterr().err
    predictions = json.loads(out.read_bytes())
    with (tmp_path / "p.failures.csv").open() as file:
        failures = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    print(
        f"\npredict: {len(clips)} damaged clips and bombs: {len(clips) - len(failures)} predicted, {len(failures)} refused, "
        f"{time.monotonic() - began:.0f} s"
    )
    assert set(predictions) == clips
    assert 0 < len(failures) < len(clips)
    empty = {clip for clip, rows in predictions.items() if not rows}
    assert empty >= failures.keys()
    # Of a clip of a few frames every segment may be shorter than the shortest that counts.
    assert len(empty) <= len(failures) + 1 + len(clips) // 50
    assert all(reason.isprintable() and reason for reason in failures.values())
    assert "Traceback" not in errors
