from __future__ import annotations

import json

from avloc.cli.info import parse
from avloc.cli.main import main
from avloc.datasets import examples_folder


def test_a_description_in_the_terminal_and_as_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    clip, numbers = examples_folder() / "real-1.mp4", tmp_path / "info.json"
    assert main(["info", str(clip), "--json", str(numbers)]) == 0
    assert "real-1.mp4: clip " in " ".join(capsys.readouterr().out.split())  # a long path has a line of its own
    document = json.loads(numbers.read_text())
    assert (document["kind"], document["path"], document["details"]["problems"]) == ("clip", str(clip), [])
    assert document["next"] == [f"avloc localize {clip} --out timelines"]


def test_what_cannot_be_described_is_one_line(tmp_path, capsys):
    assert main(["info", str(tmp_path / "none")]) == 2
    assert "none: no such file or folder" in capsys.readouterr().err
    assert main(["info", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"avloc info: error: {tmp_path}: is nothing that avloc knows; want ")
    assert error.count("\n") == 1


def test_options(tmp_path):
    options = parse([str(tmp_path)])
    assert (options.path, options.json) == (tmp_path, None)
