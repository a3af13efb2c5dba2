from __future__ import annotations

import json
from pathlib import Path

import pytest

from avloc.cli.main import main
from avloc.cli.synth import LAYOUT_NAMES, SynthOptions, parse
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.synthetic.generate import LAYOUTS


def test_defaults(monkeypatch):
    monkeypatch.setattr("avloc.cli.synth.default_workers", lambda: 3)
    assert parse(["out", "--layout", "lavdf", "--clips", "9"]) == SynthOptions(
        out=Path("out"), layout="lavdf", clips=9, seed=0, speech=None, corruptions=False, workers=3
    )


def test_layouts_of_the_help_are_those_of_the_generator():
    assert list(LAYOUT_NAMES) == list(LAYOUTS)


def test_options(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    arguments = ["~/o", "--layout", "avdeepfake1m", "--clips", "12", "--seed", "4", "--speech", "~/s", "--corruptions"]
    assert parse([*arguments, "--workers", "2"]) == SynthOptions(
        Path("/home/x/o"), "avdeepfake1m", 12, 4, Path("/home/x/s"), corruptions=True, workers=2
    )


def test_set_with_corruptions(tmp_path, capsys, render_plainly):
    out = tmp_path / "set"
    words = ["synth", str(out), "--layout", "lavdf", "--clips", "18", "--seed", "5", "--workers", "1", "--corruptions"]
    with render_plainly():
        assert main(words) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{out}: 18 clips (11 with forged words), ")
    assert line.endswith(" minutes\n")
    assert len(read_records("lavdf", out)) == 18
    corruptions = json.loads((out / "corruptions.json").read_text())
    assert list(corruptions) == ["no sound", "other frame rate", "truncated", "past the end", "odd name"]
    assert json.loads((out / "synth.json").read_text())["corruptions"] is True
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}: finished earlier, all 18 clips exist; nothing to do\n"
    assert captured.err == ""
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out", "--layout", "lavdf"], "the following arguments are required: --clips"),
        (["out", "--layout", "lavdf", "--clips", "x"], "argument --clips: want a whole number of at least 0, got 'x'"),
        (["out", "--layout", "odd", "--clips", "9"], "unknown layout 'odd', there are: lavdf, avdeepfake1m"),
        (["out", "--layout", "lavdf", "--clips", "8"], "a set needs at least 9 clips for its three splits, got 8"),
        (["out", "--layout", "lavdf", "--clips", "9", "--speech", "none"], "none: no such folder of speech recordings"),
        (["out", "--layout", "lavdf", "--clips", "9", "--traps"], "unrecognized arguments: --traps"),
    ],
)
def test_wrong_input_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["synth", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
