from __future__ import annotations

import csv
import json
import shutil

import pytest

from avloc.cli.main import main


def data(action, root, *words, dataset="lavdf"):
    return main(["data", action, "--dataset", dataset, "--root", str(root), *map(str, words)])


def test_info(tiny_set, tmp_path, capsys):
    assert data("info", tiny_set, "--json", tmp_path / "i.json", "--html", tmp_path / "i.html") == 0
    text = capsys.readouterr().out
    assert text.startswith("9 clips, 0.0 hours\n")
    assert "length of fakes: median" in text
    found = json.loads((tmp_path / "i.json").read_text())
    assert {row["name"]: row["clips"] for row in found["groups"]["split"]} == {"train": 3, "dev": 3, "test": 3}
    assert sum(row["clips"] for row in found["groups"]["modality"]) == 9
    assert sum(found["lengths"]["clips"]["counts"]) == 9
    page = (tmp_path / "i.html").read_text()
    assert "<h2>Length of fakes</h2>" in page
    assert "http" not in page
    assert data("info", tiny_set, "--split", "dev") == 0
    assert capsys.readouterr().out.startswith("3 clips")


def test_check(tiny_set, tmp_path, capsys):
    assert data("check", tiny_set) == 0
    assert capsys.readouterr().out == "9 clips: nothing wrong\n"
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
        ("missing", "test/000000.mp4"), ("unreadable", "test/000001.mp4"), ("outside", "test/000002.mp4"),
        ("segment", "dev/000001.mp4"), ("length", "train/000000.mp4"),
    }  # fmt: skip
    assert "1 × the file is not there" in capsys.readouterr().out
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
        (["data", "info", "--dataset", "x", "--root", "y"], "unknown dataset 'x'"),
        (["data", "check", "--dataset", "lavdf", "--root", "/nowhere"], "/nowhere: no such folder"),
        (["data", "sample", "--dataset", "lavdf", "--root", ".", "--clips", "0"], "want a whole number of at least 1"),
    ],
)
def test_wrong_input_is_one_line(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
