from __future__ import annotations

import pytest
import torch

from avloc.cli.convert import ConvertOptions, parse
from avloc.cli.main import main
from avloc.core.descriptions import ClipInputFormat
from avloc.errors import AvlocError
from avloc.evaluation.predictions import iter_clips, read_predictions
from avloc.inference.localizer import Localizer
from avloc.models import BATFD, read_checkpoint


def test_defaults(tmp_path):
    (tmp_path / "a.ckpt").touch()
    options = parse([str(tmp_path / "a.ckpt"), "--out", "b.ckpt"])
    assert options == ConvertOptions(
        tmp_path / "a.ckpt", options.out, "aligned", "pad", allow_missing=False, form=None, strip_suffix=""
    )
    with pytest.raises(AvlocError, match="want one of pad, squeeze, got 'fold'"):
        parse([str(tmp_path / "a.ckpt"), "--out", "b.ckpt", "--fit", "fold"])


@pytest.mark.parametrize("fit", ["pad", "squeeze"])
def test_converted_checkpoint_keeps_length_and_fit(published, tmp_path, capsys, fit):
    fixture = published("batfd")
    torch.save({"state_dict": fixture.state, "hyper_parameters": fixture.settings}, tmp_path / "published.ckpt")
    words = ["convert", str(tmp_path / "published.ckpt"), "--out", str(tmp_path / "o.ckpt"), "--fit", fit]
    assert main([*words, "--decoding", "published"]) == 0
    assert "BATFD: 60 tensors" in capsys.readouterr().out
    checkpoint = read_checkpoint(tmp_path / "o.ckpt")
    assert checkpoint.context.clips == ClipInputFormat(64, fit)
    assert checkpoint.arguments["decoding"] == "published"


def test_tensors_that_do_not_fit_are_listed(published, tmp_path, capsys):
    fixture = published("batfd")
    state = fixture.state | {"odd": torch.zeros(1)}
    path = tmp_path / "published.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": fixture.settings}, path)
    assert main(["convert", str(path), "--out", str(tmp_path / "o.ckpt")]) == 2
    assert "1 unexpected (odd)" in capsys.readouterr().err
    assert main(["convert", str(path), "--out", str(tmp_path / "o.ckpt"), "--allow-missing"]) == 1
    assert "unexpected: odd" in capsys.readouterr().out
    assert main(["convert", str(path), "--out", str(path)]) == 2
    assert isinstance(Localizer.from_checkpoint(tmp_path / "o.ckpt").model, BATFD)


@pytest.mark.parametrize(
    ("name", "words", "form"),
    [
        ("p.rttm", [], "rttm"),
        ("p.pkl", [], "actionformer"),
        ("o.json", ["--form", "activitynet"], "activitynet"),
        ("o.json", [], "avloc"),
    ],
)
def test_predictions_in_the_forms_of_others(tmp_path, capsys, name, words, form):
    source, out = tmp_path / "p.json", tmp_path / name
    source.write_text('{"test/a.mp4": [[0.5, 1, 2.25], [0.25, 0, 1]], "test/b.mp4": [], "c.mp4": [[0.125, 3, 4]]}')
    assert main(["convert", str(source), "--out", str(out), "--strip-suffix", ".mp4", *words]) == 0
    assert f"{name}: 3 clips, 3 rows, as {form}" in capsys.readouterr().out
    again = read_predictions(out)
    rows = dict(iter_clips(again.files, again.rows))
    assert {file: rows[file].tolist() for file in ("test/a", "c")} == {
        "test/a": [[0.5, 1, 2.25], [0.25, 0, 1]],
        "c": [[0.125, 3, 4]],
    }
    assert ("test/b" in rows) == (form != "actionformer")  # that form has no place for it


def test_options_of_predictions_and_names_that_collide(tmp_path, capsys):
    (tmp_path / "p.json").write_text('{"a.mp4": [], "a": []}')
    out = str(tmp_path / "o.json")
    assert main(["convert", str(tmp_path / "p.json"), "--out", out, "--strip-suffix", ".mp4"]) == 2
    assert "without .mp4 several clips are named a" in capsys.readouterr().err
    (tmp_path / "a.ckpt").touch()
    assert main(["convert", str(tmp_path / "a.ckpt"), "--out", out, "--form", "rttm"]) == 2
    assert "--form and --strip-suffix are for predictions" in capsys.readouterr().err
