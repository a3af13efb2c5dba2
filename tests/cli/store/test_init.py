from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.cli.store import LsOptions, MergeOptions, VerifyOptions, parse
from avloc.feature_extraction.store.npy_import import ImportOptions


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: ls|verify|export|import|merge"),
        (["ls", "/nowhere"], "/nowhere: no such store"),
        (["verify", "."], ".: no store, it has no features of any extractor"),
        (["verify", "s", "--extractor", "x"], "no features of 'x', the store has: wave"),
        (["export", "s", "--extractor", "x", "--out", "o"], "no features of 'x', the store has: wave"),
        (["export", "s", "--extractor", "wave", "--out", "s/wave/store.json"], "is a file, want the name of a folder"),
        (["import", "t", "--from", "/nowhere"], "/nowhere: no such folder"),
        (
            ["import", "t", "--from", "s", "--extractor", "x"],
            "s: is a feature store of avloc; join it to another with avloc store merge",
        ),
        (["import", "s/wave/store.json", "--from", "s"], "is a file, want the name of a folder"),
        (
            ["import", "t", "--from", ".", "--extractor", "x", "--modality", "audio", "--hop", "1", "--suffix", "mp4"],
            "--suffix: want an ending with its dot, as .mp4, got 'mp4'",
        ),
        (["import", "t", "--from", "s", "--hop", "x"], "argument --hop: want a number above 0, got 'x'"),
        (["import", "t", "--from", "s", "--shard-clips", "0"], "want a whole number of at least 1"),
        (["merge", "t", "u"], "u: no such store"),
        (["merge", "t", "s", "other"], "wave: hop_s is 0.02 in s and 0.04 in other"),
        (["merge", "s/wave/store.json", "s"], "store.json: is a file, want the name of a folder"),
    ],
)
def test_wrong_input_is_one_line(fill, store, words, message, tmp_path, monkeypatch, capsys):
    fill(tmp_path / "other", description=dataclasses.replace(store.describe("wave"), hop_s=0.04))
    np.save(tmp_path / "other" / "a.npy", np.ones((2, 3)))
    monkeypatch.chdir(tmp_path)
    assert main(["store", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"s", "other"}


@pytest.mark.parametrize("action", ["ls", "verify", "export", "import", "merge"])
def test_each_action_has_help(run, action, capsys):
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
