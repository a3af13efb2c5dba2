from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import avloc
from avloc.cli.main import main
from avloc.cli.scores.tune import CLIPS, parse
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw import search
from avloc.inference.raw.tuned_file import TunedSettings, read_tuned, write_tuned
from avloc.io.provenance import read_sidecar


@pytest.fixture
def folder(raw_folder, tmp_path, monkeypatch):
    """Raw rows and labels, in the current folder, and a search of few values."""
    for name in ("val.h5", "m.json"):
        shutil.copyfile(raw_folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "TRIED", {"voting_iou": (0.0, 0.5)})
    return tmp_path


def test_a_search_and_its_use(folder, capsys):
    words = [
        "tune",
        "val.h5",
        "m.json",
        "--protocol",
        "avdeepfake1m",
        "--save",
        "t.json",
        "--clips",
        "31",
        "--workers",
        "0",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split() == ["untuned", "tuned", "gain", "low", "high"]
    assert [line.split()[0] for line in lines[1:11]][-1] == "score"
    assert "5 folds of 16 source videos" in out
    assert lines[-1] == "t.json: voting_iou 0 > 0.5"
    assert max(map(len, lines)) <= 80
    assert read_tuned("t.json") == TunedSettings(PointDecoding(sigma=2.0, voting_iou=0.5), 50)
    provenance = json.loads((folder / "t.json").read_text())["provenance"]
    assert (provenance["settings"]["network"], provenance["settings"]["objective"]) == ("abc", "score")
    assert provenance["inputs"]["predictions"]["file"] == "val.h5"
    assert main(["tune", "val.h5", "--use", "t.json", "--out", "val.json"]) == 0
    assert capsys.readouterr().out == "val.json: 60 clips, 420 rows\n"
    assert read_sidecar("val.json").inputs["fit"].file == "t.json"


def test_predict_and_tune_give_the_same_rows(tiny_set, tiny_store, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """The network's rows under tuned settings are those of its raw rows, byte by byte."""
    monkeypatch.chdir(tmp_path)
    words = ["predict", "--checkpoint", tiny_checkpoint, "--dataset", "lavdf", "--root", tiny_set, "--split", "dev"]
    words = [*map(str, words), "--store", str(tiny_store)]
    assert main([*words, "--raw", "--out", "dev.h5"]) == 0
    assert "note:" not in capsys.readouterr().err
    tuned = TunedSettings(
        PointDecoding(sigma=0.2, boundary_power=1.0, voting_iou=0.5, video_gate=0.5, before_nms=90), 20
    )
    write_tuned("t.json", tuned, {})
    assert main([*words, "--tuned", "t.json", "--out", "dev.json"]) == 0
    assert main(["tune", "dev.h5", "--use", "t.json", "--out", "decoded.json"]) == 0
    assert "dev.json: 3 clips, 60 rows, 0 failed" in capsys.readouterr().out
    assert (tmp_path / "dev.json").read_bytes() == (tmp_path / "decoded.json").read_bytes()
    predictions = avloc.predict(tiny_checkpoint, "lavdf", tiny_set, "dev", store=tiny_store, tuned="t.json")
    rows = json.loads((tmp_path / "dev.json").read_text())
    assert {file: len(each) for file, each in predictions.items()} == dict.fromkeys(rows, 20)
    np.testing.assert_allclose(
        np.concatenate(list(predictions.values())), np.concatenate(list(rows.values())), atol=1e-3
    )
    assert main([*words, "--tuned", "t.json", "--raw", "--out", "x"]) == 2
    assert (
        "--raw keeps rows for avloc tune, by the checkpoint's own settings; leave out --tuned"
        in capsys.readouterr().err
    )
    assert main([*words, "--task", "detection", "--raw", "--out", "x"]) == 2
    assert "which are no clip scores; leave out --task detection" in capsys.readouterr().err


def test_raw_rows_of_a_test_split_are_noted_before_the_work(tiny_set, tiny_store, tiny_checkpoint, tmp_path, capsys):
    words = [
        "predict",
        "--checkpoint",
        tiny_checkpoint,
        "--dataset",
        "lavdf",
        "--root",
        tiny_set,
        "--store",
        tiny_store,
    ]
    assert main([*map(str, words), "--raw", "--out", str(tmp_path / "test.h5")]) == 0
    note = "note: avloc tune searches on rows of a validation split alone (--split dev); those of test can be decoded"
    assert note in capsys.readouterr().err
    labels = ["tune", str(tmp_path / "test.h5"), str(tiny_set / "metadata.min.json"), "--protocol", "lavdf"]
    assert main([*labels, "--save", str(tmp_path / "t.json")]) == 2
    assert "rows of the split 'test' of lavdf; settings are tuned on validation rows alone" in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists()


def test_options_are_parsed():
    options = parse(["v.h5", "m.json", "--protocol", "lavdf", "--objective", "AR@50", "--save", "t.json"])
    assert (options.objective, options.clips, options.use) == ("AR@50", CLIPS, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.json", "--save", "t.json"], "m.json: --protocol is missing"),
        (["m.json", "--protocol", "avdeepfake1m"], "labels want --save"),
        (["--save", "t.json"], "want either labels to fit on, or --use with a fit, got neither"),
        (["m.json", "--protocol", "avdeepfake1m", "--save", "t.json", "--objective", "AR@7"], "got 'AR@7'"),
        (["--use", "m.json", "--out", "o.json"], "want tuned settings of schema avloc.tuned/1, got 'list'"),
        (["m.json", "--protocol", "lavdf", "--save", "t.json"], "has no field 'fake_periods'"),
    ],
)
def test_wrong_options_are_one_line(folder, capsys, words, message):
    assert main(["tune", "val.h5", *words, "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
