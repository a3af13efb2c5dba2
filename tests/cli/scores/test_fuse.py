from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.cli.main import main
from avloc.cli.scores.fuse import parse

CLIPS = 80


@pytest.fixture
def files(tmp_path):
    """Two systems' clip scores and rows of 80 clips of 40 sources, and their metadata."""
    rng = np.random.default_rng(3)
    names = [f"c{k}.mp4" for k in range(CLIPS)]
    is_fake = np.arange(CLIPS) % 2 == 1
    (tmp_path / "m.json").write_text(
        json.dumps(
            [
                {
                    "file": n,
                    "original": names[k - 1] if f else None,
                    "fake_segments": [[1, 2]] if f else [],
                    "duration": 8,
                }
                for k, (n, f) in enumerate(zip(names, is_fake, strict=True))
            ]
        )
    )
    for system in "ab":
        log_odds = np.where(is_fake, 0.5, -0.5) + rng.standard_normal(CLIPS)
        (tmp_path / f"{system}.txt").write_text("".join(f"{n};{s:.9f}\n" for n, s in zip(names, log_odds, strict=True)))
        rows = {}
        for name, fake in zip(names, is_fake, strict=True):
            starts = np.array([1.0, 5.0]) + 0.1 * rng.standard_normal(2)
            scores = 1 / (1 + np.exp(-(np.array([1.0 if fake else -1, -1]) + rng.standard_normal(2))))
            rows[name] = [[s, a, a + 1] for s, a in zip(scores.tolist(), starts.tolist(), strict=True)]
        (tmp_path / f"{system}.json").write_text(json.dumps(rows))
    return tmp_path


def fuse(*words):
    return main(["fuse", *map(str, words)])


def evaluation(folder, name, *options):
    words = [folder / name, folder / "m.json", "--protocol", "avdeepfake1m", *options, "--json", folder / "d.json"]
    assert main(["evaluate", *map(str, words)]) == 0
    return json.loads((folder / "d.json").read_text())


def test_clip_scores_of_two_systems(files, capsys):
    systems = [files / "a.txt", files / "b.txt"]
    assert fuse(*systems, "--labels", files / "m.json", "--protocol", "avdeepfake1m", "--save", files / "f.json") == 0
    assert "Cross-validated over source videos: 40 of 80 are fake." in capsys.readouterr().out
    assert len(json.loads((files / "f.json").read_text())["slopes"]) == 2
    assert fuse(*systems, "--use", files / "f.json", "--out", files / "o.txt") == 0
    assert "log-likelihood ratios of 80 clips, of 2 systems" in capsys.readouterr().out
    fused = evaluation(files, "o.txt", "--llr")["evidence"]
    for name in ("a.txt", "b.txt"):
        alone = evaluation(files, name)["evidence"]
        assert fused["auc"] > alone["auc"]
        assert fused["min_cllr"] < alone["min_cllr"]
    assert fused["cllr"] < 0.85
    assert fuse(*systems, "--use", files / "f.json", "--out", files / "q.txt", "--prior", 0.5) == 0
    scores = [float(line.split(";")[1]) for line in (files / "q.txt").read_text().splitlines()]
    assert 0 < min(scores) < 0.5 < max(scores) < 1


def test_segments_of_two_systems(files, capsys):
    systems = [files / "a.json", files / "b.json"]
    assert fuse(*systems, "--labels", files / "m.json", "--protocol", "avdeepfake1m", "--save", files / "f.json") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["a.json", "b.json", "fused"]
    assert "boxes, weights" in out
    assert fuse(*systems, "--use", files / "f.json", "--out", files / "o.json") == 0
    assert "80 clips, " in capsys.readouterr().out
    fused = evaluation(files, "o.json")["strict"]["score"]
    assert fused > max(evaluation(files, name)["strict"]["score"] for name in ("a.json", "b.json"))


def test_a_system_fused_with_itself_scores_the_same(files):
    systems = [files / "a.json"] * 2
    assert fuse(*systems, "--labels", files / "m.json", "--protocol", "avdeepfake1m", "--save", files / "f.json") == 0
    assert fuse(*systems, "--use", files / "f.json", "--out", files / "o.json") == 0
    fused, alone = (evaluation(files, name)["strict"]["ap"] for name in ("o.json", "a.json"))
    assert fused == pytest.approx(alone, abs=0.002)  # seconds have three decimals in the file


def test_clips_that_one_system_lacks(files, capsys):
    systems = [files / "a.json", files / "b.json"]
    assert fuse(*systems, "--labels", files / "m.json", "--protocol", "avdeepfake1m", "--save", files / "f.json") == 0
    a, b = (json.loads(path.read_text()) for path in systems)
    systems[0].write_text(json.dumps({k: v for k, v in a.items() if k != "c1.mp4"}))
    systems[1].write_text(json.dumps({"x.mp4": [], **{f"d/{k}": v for k, v in b.items() if k != "c2.mp4"}}))
    capsys.readouterr()
    assert fuse(*systems, "--use", files / "f.json", "--out", files / "o.json") == 0
    error = capsys.readouterr().err
    assert error.count("clips of the other systems are missing") == 2
    fused = json.loads((files / "o.json").read_text())
    assert len(fused) == 81
    assert (
        len(fused["d/c1.mp4"]) == len(fused["c2.mp4"]) == 2
    )  # a name is matched only where both systems have the clip
    assert fused["x.mp4"] == []


def test_options_are_parsed():
    options = parse(["a.json", "b.json", "--use", "f.json", "--out", "o.json"])
    assert (len(options.predictions), options.method, options.keep) == (2, "boxes", 100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.txt", "--use", "f.json", "--out", "o.txt"], "want the files of at least two systems, got 1"),
        (
            ["a.txt", "b.json", "--use", "f.json", "--out", "o.txt"],
            "a.txt has clip scores and b.json segments: fuse one kind",
        ),
        (["a.txt", "b.txt"], "want either labels to fit on, or --use with a fit, got neither"),
        (
            ["a.txt", "b.txt", "a.txt", "--use", "f.json", "--out", "o.txt"],
            "f.json: was fitted on 2 systems, got 3 files",
        ),
        (["a.json", "b.json", "--use", "f.json", "--out", "o.json"], "f.json: want a fusion of schema avloc.fusion/1"),
        (["a.json", "b.json", "--use", "f.json", "--out", "o.json", "--prior", "0.5"], "--prior is for clip scores"),
        (
            ["a.txt", "few.txt", "--use", "f.json", "--out", "o.txt"],
            "few.txt: lacks 79 clips of a.txt, and has 1 others",
        ),
        (
            ["a.txt", "flat.txt", "--labels", "m.json", "--protocol", "avdeepfake1m", "--save", "g.json"],
            "m.json: all scores of system 2 are equal",
        ),
        (
            ["a.json", "other.json", "--use", "s.json", "--out", "o.json"],
            "other.json: none of its 1 clips is in a.json",
        ),
        (["a.json", "b.json", "--labels", "m.json", "--save", "g.json"], "m.json: --protocol is missing"),
        (
            ["a.json", "b.json", "--labels", "none.json", "--protocol", "lavdf", "--save", "g.json"],
            "no such metadata file",
        ),
        (
            ["a.json", "bad.json", "--use", "s.json", "--out", "o.json"],
            "bad.json: c1.mp4: row 0: want [score, start, end]",
        ),
        (["a.json", "high.json", "--use", "s.json", "--out", "o.json"], "s.json: calibration: want scores in [0, 1]"),
        (["a.json", "b.json", "--method", "mean", "--use", "s.json", "--out", "o.json"], "argument --method"),
    ],
)
def test_wrong_input_is_one_line(files, words, message, capsys, monkeypatch):
    monkeypatch.chdir(files)
    fit = ["--labels", "m.json", "--protocol", "avdeepfake1m", "--save"]
    assert fuse("a.txt", "b.txt", *fit, "f.json") == 0
    if "s.json" in words:
        assert fuse("a.json", "b.json", *fit, "s.json") == 0
    (files / "few.txt").write_text("c1.mp4;0.5\nx.mp4;0.5\n")
    (files / "flat.txt").write_text("".join(f"c{k}.mp4;0.5\n" for k in range(CLIPS)))
    (files / "other.json").write_text('{"x.mp4": [[0.5, 1, 2]]}')
    (files / "bad.json").write_text('{"c1.mp4": [[0.5, 1]]}')
    (files / "high.json").write_text('{"c1.mp4": [[5, 1, 2]]}')
    capsys.readouterr()
    before = {p.name for p in files.iterdir()}
    assert fuse(*words) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert len([line for line in error if not line.startswith("warning: ")]) == 1
    assert {p.name for p in files.iterdir()} == before
