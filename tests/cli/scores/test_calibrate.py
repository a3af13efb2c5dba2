from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.cli.scores.calibrate import parse

CLIPS = 60


@pytest.fixture
def files(tmp_path):
    """Overconfident clip scores and rows of 60 clips of 30 sources, their metadata, and ASVspoof's form of both."""
    rng = np.random.default_rng(2)
    is_fake = np.arange(CLIPS) % 2 == 1
    log_odds = np.where(is_fake, 0.7, -0.7) + rng.standard_normal(CLIPS)
    names = [f"c{k}.mp4" for k in range(CLIPS)]
    (tmp_path / "p.txt").write_text(
        "".join(f"{n};{1 / (1 + np.exp(-4 * s)):.9f}\n" for n, s in zip(names, log_odds, strict=True))
    )
    (tmp_path / "m.json").write_text(
        json.dumps(
            [
                {
                    "file": n,
                    "original": names[k - 1] if f else None,
                    "fake_segments": [[1, 2]] if f else [],
                    "duration": 5,
                }
                for k, (n, f) in enumerate(zip(names, is_fake, strict=True))
            ]
        )
    )
    rows = {
        n: [[float(s), 1, 2], [float(s) / 2, 3, 4]] for n, s in zip(names, 1 / (1 + np.exp(-log_odds)), strict=True)
    }
    (tmp_path / "p.json").write_text(json.dumps(rows | {"c0.mp4": []}))
    (tmp_path / "s.tsv").write_text(
        "filename\tcm-score\n" + "".join(f"{n}\t{-s:.9f}\n" for n, s in zip(names, log_odds, strict=True))
    )
    (tmp_path / "k.tsv").write_text(
        "filename\tcm-label\n"
        + "".join(f"{n}\t{'spoof' if f else 'bonafide'}\n" for n, f in zip(names, is_fake, strict=True))
    )
    return tmp_path


def calibrate(*words):
    return main(["calibrate", *map(str, words)])


def cllr(folder, name, *options):
    assert (
        main(
            [
                "evaluate",
                str(folder / name),
                str(folder / "m.json"),
                "--protocol",
                "avdeepfake1m",
                "--llr",
                *options,
                "--json",
                str(folder / "d.json"),
            ]
        )
        == 0
    )
    return json.loads((folder / "d.json").read_text())["evidence"]


def test_clips_become_ratios(files, capsys):
    assert calibrate(files / "p.txt", files / "m.json", "--protocol", "avdeepfake1m", "--save", files / "c.json") == 0
    out = capsys.readouterr().out
    assert "Cross-validated over source videos: 30 of 60 are fake." in out
    assert "act DCF" in out
    document = json.loads((files / "c.json").read_text())
    assert (document["kind"], document["transforms"], document["fakes"], document["reals"]) == (
        "clips",
        ["logit"],
        30,
        30,
    )
    assert document["slopes"][0] == pytest.approx(1.4 / 4, abs=0.12)
    inputs = document["provenance"]["inputs"]
    assert {role: file["file"] for role, file in inputs.items()} == {
        "predictions": str(files / "p.txt"),
        "metadata": str(files / "m.json"),
    }
    assert document["provenance"]["command"].startswith("avloc calibrate ")
    assert calibrate(files / "p.txt", "--use", files / "c.json", "--out", files / "l.txt") == 0
    assert "log-likelihood ratios of 60 clips" in capsys.readouterr().out
    after = cllr(files, "l.txt")
    assert after["cllr"] < 0.9
    assert after["min_cllr"] == pytest.approx(cllr(files, "p.txt")["min_cllr"])


def test_probabilities_at_a_prior(files):
    assert calibrate(files / "p.txt", files / "m.json", "--protocol", "avdeepfake1m", "--save", files / "c.json") == 0
    assert calibrate(files / "p.txt", "--use", files / "c.json", "--out", files / "l.txt") == 0
    assert calibrate(files / "p.txt", "--use", files / "c.json", "--out", files / "q.txt", "--prior", "0.2") == 0
    llrs, probabilities = (
        np.array([float(line.split(";")[1]) for line in (files / n).read_text().splitlines()])
        for n in ("l.txt", "q.txt")
    )
    assert probabilities == pytest.approx(1 / (1 + 4 * np.exp(-llrs)), abs=1e-6)


def test_files_of_asvspoof(files, capsys):
    assert calibrate(files / "s.tsv", files / "k.tsv", "--save", files / "c.json") == 0
    assert calibrate(files / "s.tsv", "--use", files / "c.json", "--out", files / "l.tsv") == 0
    assert capsys.readouterr().err.count("the sign was changed") == 2
    first = (files / "l.tsv").read_text().splitlines()[1].split("\t")
    before = (files / "s.tsv").read_text().splitlines()[1].split("\t")
    assert first[0] == before[0]
    assert np.sign(float(first[1])) == np.sign(float(before[1]))  # higher is bona fide still


def test_rows_become_probabilities_of_hits(files, capsys):
    fit = ["--protocol", "avdeepfake1m", "--save", files / "c.json"]
    assert calibrate(files / "p.json", files / "m.json", *fit) == 0
    assert "30 of 118 rows are hits (IoU .5)" in capsys.readouterr().out
    assert calibrate(files / "p.json", "--use", files / "c.json", "--out", files / "q.json") == 0
    before, after = (json.loads((files / n).read_text()) for n in ("p.json", "q.json"))
    assert after["c0.mp4"] == []
    assert [row[1:] for row in after["c5.mp4"]] == [row[1:] for row in before["c5.mp4"]]
    scores = np.array([row[0] for rows in after.values() for row in rows])
    assert scores.mean() == pytest.approx(30 / 118, abs=0.05)
    old = np.array([row[0] for rows in before.values() for row in rows])
    assert np.argsort(scores).tolist() == np.argsort(old).tolist()


def test_options_are_parsed():
    options = parse(["p.txt", "--use", "c.json", "--out", "o.txt", "--prior", "0.5"])
    assert (options.metadata, options.prior, options.save) == (None, 0.5, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["p.txt"], "want either labels to fit on, or --use with a fit, got neither"),
        (["p.txt", "m.json", "--use", "c.json"], "got both"),
        (["p.txt", "m.json", "--protocol", "lavdf"], "labels want --save, the file for the fit"),
        (["p.txt", "--use", "c.json"], "--use wants --out, the file to write"),
        (["p.txt", "--use", "c.json", "--out", "o.txt", "--save", "d.json"], "--use and --save exclude each other"),
        (["p.txt", "--use", "none.json", "--out", "o.txt"], "none.json: no such calibration"),
        (["p.txt", "--use", "m.json", "--out", "o.txt"], "m.json: want a calibration of schema avloc.calibration/1"),
        (
            ["p.txt", "--use", "c.json", "--out", "o.txt", "--prior", "1"],
            "--prior: want a probability above 0 and below 1",
        ),
        (["p.json", "--use", "c.json", "--out", "o.txt"], "c.json: was fitted on clips, want a fit on segments"),
        (
            ["p.txt", "--use", "two.json", "--out", "o.txt"],
            "two.json: was fitted on 2 systems, got 1 file; want one file per system",
        ),
        (["s.tsv", "--use", "c.json", "--out", "o.txt"], "s.tsv: calibration: want scores in [0, 1]"),
        (["p.txt", "m.json", "--save", "d.json"], "m.json: --protocol is missing"),
        (["p.json", "m.json", "--save", "d.json"], "m.json: --protocol is missing"),
        (
            ["turned.txt", "m.json", "--protocol", "avdeepfake1m", "--save", "d.json"],
            "turned.txt: higher scores do not mean fake",
        ),
        (
            ["few.txt", "m.json", "--protocol", "avdeepfake1m", "--save", "d.json"],
            "few.txt: lacks 59 of 60 labelled clips; a fit wants the scores of all: predict them, or name the split of the "
            "scores by --split",
        ),
        (
            ["other.json", "m.json", "--protocol", "avdeepfake1m", "--save", "d.json"],
            "none of its 1 clips is in the metadata",
        ),
    ],
)
def test_wrong_input_is_one_line(files, words, message, capsys, monkeypatch):
    monkeypatch.chdir(files)
    assert calibrate("p.txt", "m.json", "--protocol", "avdeepfake1m", "--save", "c.json") == 0
    document = json.loads((files / "c.json").read_text())
    (files / "two.json").write_text(json.dumps(document | {"slopes": [1, 1], "transforms": ["logit"] * 2}))
    scores = [line.split(";") for line in (files / "p.txt").read_text().splitlines()]
    (files / "turned.txt").write_text("".join(f"{n};{1 - float(s):.9f}\n" for n, s in scores))
    (files / "few.txt").write_text("c1.mp4;0.5\n")
    (files / "other.json").write_text('{"x.mp4": [[0.5, 1, 2]]}')
    capsys.readouterr()
    before = {p.name for p in files.iterdir()}
    assert calibrate(*words) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert len([line for line in error if not line.startswith("warning: ")]) == 1
    assert {p.name for p in files.iterdir()} == before
