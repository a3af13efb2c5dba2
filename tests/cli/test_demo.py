from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from avloc.cli.main import main


def test_demo_writes_scores_report_and_predictions(demo: Path):
    table = json.loads((demo / "metrics.json").read_text())
    assert {"protocol", "videos", "segments", "official", "strict", "by_modality"} <= set(table)
    assert table["videos"] == 4
    assert set(table["strict"]) == {"ap", "ar", "score"}
    assert set(table["official"]["ap"]) == {"0.5", "0.75", "0.95"}
    page = (demo / "report.html").read_text()
    assert page.count("<svg") > 4
    assert "http" not in page.replace("http-equiv", "")
    predictions = json.loads((demo / "predictions.json").read_text())
    assert len(predictions) == 4
    rows = np.array(next(iter(predictions.values())))
    assert (np.diff(rows[:, 0]) <= 0).all()
    assert (rows[:, 2] > rows[:, 1]).all()
    assert (
        main(["submit", str(demo / "predictions.json")]) == 0
    )  # no problems, such as rows that are equal once rounded


def test_second_run_reuses_files_and_refuses_other_settings(demo: Path, capsys: pytest.CaptureFixture[str]):
    times = {p: p.stat().st_mtime_ns for p in demo.rglob("*") if p.suffix in (".mp4", ".h5", ".ckpt")}
    assert main(["demo", "--out", str(demo), "--clips", "18", "--epochs", "1"]) == 0
    assert times == {p: p.stat().st_mtime_ns for p in times}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"the demo in {demo} is finished; its scores are computed again"
    assert f"{demo / 'clips'}: finished earlier, all 18 clips exist; nothing to do" in lines
    assert main(["demo", "--out", str(demo), "--clips", "30", "--epochs", "1"]) == 2
    assert "holds a demo of" in capsys.readouterr().err


def test_a_stopped_demo_says_where_and_that_it_goes_on(tmp_path, monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("avloc.cli.demo.STEPS", (("clips: none", lambda options: None), ("features: none", stop)))
    command = ["demo", "--out", str(tmp_path / "d"), "--clips", "18"]
    assert main(command) == 130
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "      stopped in step 2 of 2: features"
    assert captured.err == "avloc demo: stopped; finished work is kept, run the same command again to continue\n"
    assert main(command) == 130
    assert capsys.readouterr().out.startswith(f"the demo in {tmp_path / 'd'} was stopped; it goes on\n[1/2]")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_demo_learns_and_shuffled_labels_do_not(tmp_path: Path):
    """The issue's bar for the default demo, and the control: the same training on shuffled labels learns nothing."""
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    table = json.loads((out / "metrics.json").read_text())
    assert table["videos"] >= 60
    assert table["strict"]["ap"]["0.5"] >= 0.80
    assert table["strict"]["ap"]["0.75"] >= 0.50
    assert table["by_modality"]["audio"]["strict"]["ap"]["0.5"] >= 0.5
    assert table["by_modality"]["visual"]["strict"]["ap"]["0.5"] >= 0.5
    clips, store = str(out / "clips"), str(out / "features")
    control = tmp_path / "control"
    words = f"train --config demo --data.root {clips} --data.store {store} --data.shuffle_labels true"
    folder = f"--trainer.default_root_dir {control} --trainer.enable_progress_bar false"
    assert main(shlex.split(f"{words} {folder}")) == 0
    best = control / "checkpoints" / "best.ckpt"
    predictions, scores = tmp_path / "p.json", tmp_path / "m.json"
    assert (
        main(
            shlex.split(
                f"predict --checkpoint {best} --dataset lavdf --root {clips} --store {store} --out {predictions}"
            )
        )
        == 0
    )
    assert (
        main(
            shlex.split(
                f"evaluate {predictions} {out / 'clips' / 'metadata.json'} --protocol lavdf --split test "
                f"--json {scores}"
            )
        )
        == 0
    )
    assert json.loads(scores.read_text())["strict"]["ap"]["0.5"] < 0.10
