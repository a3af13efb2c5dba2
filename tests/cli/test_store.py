from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.cli.store import LsOptions, MergeOptions, VerifyOptions, parse
from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.npy_import import ImportOptions
from avloc.feature_extraction.store.plan_file import PlanFile
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter

WAVE = ExtractorDescription("wave", "audio", hop_s=0.02, dim=12, version=2, layers=3)
FILES = ["test/a.mp4", "test/b.mp4", "c.mp4"]


def run(action, *words):
    return main(["store", action, *map(str, words)])


def fill(root, which=(0, 1), description=WAVE):
    """Make a store with two shards, of two clips and of one; the second clip is a failed one."""
    store = FeatureStore(root)
    folder = store.prepare(description)
    parts = [FILES[:2], FILES[2:]]
    names = [shard_name(k, part) for k, part in enumerate(parts)]
    store.save_plan("wave", PlanFile(names))
    for k in which:
        with ShardWriter(folder / names[k], 12, store.fingerprint("wave")) as shard:
            for file in parts[k]:
                if file == "test/b.mp4":
                    shard.fail(file, "no sound")
                else:
                    shard.add(file, Features(np.ones((5400, 12), np.float32), TimeGrid(0.0, 0.02, 5400)))
    return store


@pytest.fixture
def store(tmp_path):
    return fill(tmp_path / "s")


def test_ls(store, tmp_path, capsys):
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


def test_ls_lists_problems(store, tmp_path, capsys):
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


def test_ls_leaves_out_damaged_shards(store, capsys):
    store.shards("wave")[0].write_bytes(b"no")
    assert run("ls", store.root) == 1
    captured = capsys.readouterr()
    assert "0.03" in captured.out
    assert "cannot be read and is not counted; avloc store verify says more" in captured.err


def test_verify(store, capsys):
    assert run("verify", store.root) == 0
    assert capsys.readouterr().out == f"{store.root}: 2 shards of 1 extractors are right\n"
    path = store.shards("wave")[0]
    path.write_bytes(path.read_bytes()[:-9])
    (path.parent / ".00003-ab.host.1.tmp.h5").write_bytes(b"")
    assert run("verify", store.root, "--quick", "--extractor", "wave") == 1
    captured = capsys.readouterr()
    first, last = captured.out.splitlines()
    assert first.startswith(f"{path}: a damaged shard (")
    assert first.endswith("; remove it and run the same extraction again")
    assert last == f"{store.root}: 1 faults in 2 shards of 1 extractors"
    assert captured.err.startswith("note: ")
    path.unlink()
    assert run("verify", store.root) == 1
    assert "is planned, but missing; run the same extraction again" in capsys.readouterr().out


def test_quick_skips_the_values(store, capsys):
    path = store.shards("wave")[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run("verify", store.root, "--quick") == 0
    assert "are right, without a check of their values" in capsys.readouterr().out
    assert run("verify", store.root) == 1
    assert "the checksum is wrong" in capsys.readouterr().out


def test_export_and_import(store, tmp_path, capsys):
    out = tmp_path / "npy"
    assert run("export", store.root, "--extractor", "wave", "--out", out) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}: 2 clips exported, 0 already there; export.json describes the files\n"
    assert "1 clips of the store could not be read and have no file" in captured.err
    assert run("export", store.root, "--extractor", "wave", "--out", out) == 0
    assert "0 clips exported, 2 already there" in capsys.readouterr().out
    assert run("import", tmp_path / "t", "--from", out) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 't'}: 3 clips imported, 0 already in the store, 1 failed\n"
    assert captured.err == "failed: test/b.mp4: no sound\n"
    assert run("verify", tmp_path / "t") == 0
    assert FeatureStore(tmp_path / "t").describe("wave") == store.describe("wave")


def test_import_of_a_foreign_folder(tmp_path, capsys):
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", np.full((3, 2), 1e6))
    words = (
        "--from",
        tmp_path / "npy",
        "--extractor",
        "tsn",
        "--modality",
        "visual",
        "--hop",
        0.04,
        "--suffix",
        ".avi",
        "--start",
        0.5,
        "--transposed",
    )
    assert run("import", tmp_path / "s", *words) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 's'}: 1 clips imported, 0 already in the store, 0 failed\n"
    assert captured.err.startswith("warning: 1 clips had values past ±65504")
    assert FeatureStore(tmp_path / "s").grid("tsn", "a.avi") == TimeGrid(0.5, 0.04, 2)


def test_merge(tmp_path, capsys):
    for name, which in (("one", (0,)), ("two", (1,))):
        fill(tmp_path / name, which)
    assert run("merge", tmp_path / "out", tmp_path / "one", tmp_path / "two") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 2 shards copied, 0 already there; 1 extractors\n"
    assert run("verify", tmp_path / "out") == 0
    capsys.readouterr()
    assert run("merge", tmp_path / "one", tmp_path / "one", tmp_path / "two", "--link") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'one'}: 1 shards linked, 1 already there; 1 extractors\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: ls|verify|export|import|merge"),
        (["ls", "/nowhere"], "/nowhere: no such store"),
        (["verify", "."], ".: no store, it has no features of any extractor"),
        (["verify", "s", "--extractor", "x"], "no features of 'x', the store has: wave"),
        (["export", "s", "--extractor", "x", "--out", "o"], "no features of 'x', the store has: wave"),
        (["export", "s", "--extractor", "wave", "--out", "s/wave/store.json"], "is a file, want a folder"),
        (["import", "t", "--from", "/nowhere"], "/nowhere: no such folder"),
        (["import", "t", "--from", "s", "--extractor", "x"], "s: has no .npy files"),
        (["import", "s/wave/store.json", "--from", "s"], "is a file, want the folder of a store"),
        (
            ["import", "t", "--from", ".", "--extractor", "x", "--modality", "audio", "--hop", "1", "--suffix", "mp4"],
            "--suffix: want an ending with its dot, as .mp4, got 'mp4'",
        ),
        (["import", "t", "--from", "s", "--hop", "x"], "argument --hop: invalid float value: 'x'"),
        (["import", "t", "--from", "s", "--shard-clips", "0"], "want a whole number of at least 1"),
        (["merge", "t", "u"], "u: no such store"),
        (["merge", "t", "s", "other"], "wave: hop_s is 0.02 in s and 0.04 in other"),
        (["merge", "s/wave/store.json", "s"], "store.json: is a file, want the folder of a store"),
    ],
)
def test_wrong_input_is_one_line(store, words, message, tmp_path, monkeypatch, capsys):
    fill(tmp_path / "other", description=dataclasses.replace(WAVE, hop_s=0.04))
    np.save(tmp_path / "other" / "a.npy", np.ones((2, 3)))
    monkeypatch.chdir(tmp_path)
    assert main(["store", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"s", "other"}


@pytest.mark.parametrize("action", ["ls", "verify", "export", "import", "merge"])
def test_each_action_has_help(action, capsys):
    with pytest.raises(SystemExit, match="0"):
        run(action, "--help")
    text = capsys.readouterr().out
    assert f"usage: avloc store {action}" in text
    assert f"example:\n  avloc store {action} features" in text


def test_parse(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(["ls", "~/s", "--json", "~/l.json"]) == LsOptions(
        tmp_path / "s", failures=False, problems=False, json=tmp_path / "l.json"
    )
    assert parse(["verify", "s", "--extractor", "a", "--extractor", "a", "--extractor", "b"]) == VerifyOptions(
        Path("s"), ("a", "b"), False
    )
    assert parse(["merge", "out", "a", "b", "--link"]) == MergeOptions(Path("out"), (Path("a"), Path("b")), True)
    options = parse(["import", "s", "--from", "npy", "--hop", "0.04"])
    assert (options.source, options.features) == (Path("npy"), ImportOptions(hop_s=0.04))
