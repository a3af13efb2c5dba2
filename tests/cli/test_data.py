from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from avloc.cli.data import CheckOptions, InfoOptions, SampleOptions, parse
from avloc.cli.main import main

OWN_READER = """
from avloc.datasets.readers.table import TableBuilder

class OneClip:
    splits = ("val",)
    validation = "val"

    def records(self, root, split=None):
        builder = TableBuilder()
        builder.add("a.mp4", "val", duration_s=3600.0)
        return builder.build()

    def public_name(self, record):
        return record.file
"""


def data(action, root, *words, dataset="lavdf"):
    return main(["data", action, "--dataset", dataset, "--root", str(root), *map(str, words)])


def test_options_of_each_action(tmp_path, monkeypatch):
    monkeypatch.setattr("avloc.cli.data.default_workers", lambda: 2)
    dataset = {"dataset": "csv", "root": tmp_path, "split": None}
    words = ["--dataset", "csv", "--root", str(tmp_path)]
    assert parse(["info", *words]) == InfoOptions(**dataset, json=None, html=None)
    assert parse(["check", *words]) == CheckOptions(
        **dataset, sample=None, out=None, decode=False, workers=2, timeout=60.0, longest=21_600.0, seed=0
    )
    assert parse(["sample", *words]) == SampleOptions(**dataset, clips=6, out=Path("sheet.png"), seed=0)
    more = ["--split", "x", "--sample", "3", "--out", "o.csv", "--workers", "1", "--seed", "7"]
    checked = parse(["check", *words, *more, "--decode", "--timeout", "2m", "--longest", "1h"])
    assert checked == CheckOptions(
        dataset="csv",
        root=tmp_path,
        split="x",
        sample=3,
        out=Path("o.csv"),
        decode=True,
        workers=1,
        timeout=120.0,
        longest=3600.0,
        seed=7,
    )


def test_info(tiny_set, tmp_path, capsys):
    assert data("info", tiny_set, "--json", tmp_path / "i.json", "--html", tmp_path / "i.html") == 0
    text = capsys.readouterr().out
    assert re.match(r"9 clips, [\d.]+ minutes\n", text)
    assert "length of fakes: median" in text
    document = json.loads((tmp_path / "i.json").read_text())
    assert {row["name"]: row["clips"] for row in document["groups"]["split"]} == {"train": 3, "dev": 3, "test": 3}
    assert sum(row["clips"] for row in document["groups"]["modality"]) == 9
    assert sum(document["lengths"]["clips"]["counts"]) == 9
    page = (tmp_path / "i.html").read_text()
    assert "<h2>Length of fakes</h2>" in page
    assert "http" not in page
    assert data("info", tiny_set, "--split", "dev") == 0
    assert capsys.readouterr().out.startswith("3 clips")


def test_info_of_a_reader_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_data_reader.py").write_text(OWN_READER)
    assert data("info", ".", dataset="own_data_reader.OneClip") == 0
    assert capsys.readouterr().out.startswith("1 clips, 1.0 hours\n")
    assert data("info", ".", dataset="own_data_reader.TwoClips") == 2
    assert "own_data_reader.TwoClips: cannot be imported" in capsys.readouterr().err


def test_check(tiny_set, tmp_path, capsys):
    assert data("check", tiny_set) == 0
    assert capsys.readouterr().out == "9 clips: no problems\n"
    root = tmp_path / "set"
    shutil.copytree(tiny_set, root)
    (root / "test" / "000000.mp4").unlink()
    (root / "test" / "000001.mp4").write_text("none")
    (root / "test" / "000002.mp4").unlink()
    (root / "test" / "000002.mp4").symlink_to(tiny_set / "test" / "000002.mp4")
    entries = json.loads((root / "metadata.json").read_text())
    for entry in entries:
        if entry["file"] == "dev/000001.mp4":
            entry["fake_periods"][0][1] += 30
        if entry["file"] == "train/000000.mp4":
            entry["duration"] += 3
    (root / "metadata.json").write_text(json.dumps(entries))
    assert data("check", root, "--out", tmp_path / "p.csv") == 1
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert {(r["kind"], r["file"]) for r in rows} == {
        ("missing", "test/000000.mp4"),
        ("unreadable", "test/000001.mp4"),
        ("outside", "test/000002.mp4"),
        ("segment", "dev/000001.mp4"),
        ("length", "train/000000.mp4"),
    }
    output = capsys.readouterr().out
    assert "1 × the file is missing" in output
    assert output.endswith(f"all problems: {tmp_path / 'p.csv'}\n")
    assert data("check", root, "--split", "test", "--sample", 1) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("1 clips: 1 × ")
    assert captured.err.count("\n") == 1


def test_sample(tiny_set, tmp_path, capsys):
    assert data("sample", tiny_set, "--clips", 3, "--out", tmp_path / "s.png") == 0
    assert (tmp_path / "s.png").stat().st_size > 20_000
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "cost $1_$2.mp4").write_text("none")
    assert data("sample", tmp_path / "f", "--out", tmp_path / "t.png", dataset="folder") == 1
    assert "cannot be opened as media" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data"], "the following arguments are required: info|check|sample"),
        (["data", "info", "--dataset", "x", "--root", "."], "unknown dataset 'x'"),
        (["data", "check", "--dataset", "lavdf", "--root", "/nowhere"], "/nowhere: no such folder"),
        (["data", "check", "--dataset", "no_package.Set", "--root", "/nowhere"], "/nowhere: no such folder"),
        (["data", "sample", "--dataset", "lavdf", "--root", ".", "--clips", "0"], "want a whole number of at least 1"),
    ],
)
def test_wrong_input_is_one_line(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
