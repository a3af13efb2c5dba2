from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.cli.store.ls import COLUMNS
from avloc.core.descriptions import ExtractorDescription
from avloc.feature_extraction.store.shards import ShardWriter


def test_ls(run, store, tmp_path, capsys):
    store.prepare(ExtractorDescription("none", "visual", hop_s=0.04, dim=5))
    store.shards("wave")[1].unlink()
    assert run("ls", store.root, "--failures", "--json", tmp_path / "l.json") == 0
    header, none, wave, failed = capsys.readouterr().out.splitlines()
    assert (
        " ".join(header.split())
        == "extractor modality dim steps/s clips hours failed problems shards size version format"
    )
    assert none.split() == ["none", "visual", "5", "25", "0", "0.00", "0", "0", "0", "0", "B", "1", "3"]
    assert wave.split()[:11] == ["wave", "audio", "4", "×", "3", "50", "1", "0.03", "1", "0", "1/2"]
    assert wave.split()[-3:] == ["kB", "2", "3"]
    assert failed == "failed: wave: test/b.mp4: no sound"
    rows = json.loads((tmp_path / "l.json").read_text())["extractors"]
    assert [row["extractor"] for row in rows] == ["none", "wave"]
    assert rows[1]["failed"] == {"test/b.mp4": "no sound"}
    assert (rows[1]["hours"], rows[1]["planned"]) == (0.03, 2)


def test_ls_lists_problems(run, store, tmp_path, capsys):
    with ShardWriter(store.shards("wave")[1], 12, store.fingerprint("wave")) as shard:
        shard.append(np.ones((100, 12), np.float32))
        shard.end("c\x1b[2J.mp4", 0.5, problems=["3 damaged packets", "cut off"], gaps=[(50, 75), (90, 100)])
    assert run("ls", store.root, "--problems", "--json", tmp_path / "l.json") == 0
    _, wave, problems = capsys.readouterr().out.splitlines()
    assert wave.split()[9] == "1"
    assert problems == (
        r"problems: wave: c\x1b[2J.mp4: 3 damaged packets; cut off; no data from 1.50 to 2.00 s; no data from 2.30 to 2.50 s"
    )
    (row,) = json.loads((tmp_path / "l.json").read_text())["extractors"]
    assert row["problems"] == 1
    assert row["decoded_with_problems"]["c\x1b[2J.mp4"][:2] == ["3 damaged packets", "cut off"]
    assert run("ls", store.root, "--json", tmp_path / "l.json") == 0
    assert "problems:" not in capsys.readouterr().out


def test_ls_leaves_out_damaged_shards(run, store, capsys):
    store.shards("wave")[0].write_bytes(b"no")
    assert run("ls", store.root) == 1
    captured = capsys.readouterr()
    assert "0.03" in captured.out
    assert "cannot be read and is not counted; avloc store verify says more" in captured.err


@pytest.mark.parametrize("columns", [80, 100])
def test_ls_can_be_read_in_a_terminal(store, columns, run_in_terminal):
    run = run_in_terminal(["store", "ls", store.root], columns)
    assert run.code == 0
    assert "…" not in run.text
    for name in COLUMNS:
        assert name in run.text.split(), name
