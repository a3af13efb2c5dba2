from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from avloc.cli.compare import parse
from avloc.cli.main import main


@pytest.fixture
def words(tiny_set, tiny_store):
    options = ["--root", tiny_set, "--store", tiny_store, "--protocol", "lavdf", "--seeds", "0,3", "--out", "out"]
    extractors = ["--extractors", "logspec,residual_grid", "residual_grid"]
    return ["compare", "--config", "representations", *extractors, *map(str, options), "--json", "scores.json"]


@pytest.fixture
def trainings(tiny_checkpoint, tmp_path, monkeypatch):
    """Each training is a copy of one checkpoint; their words are listed, and the third one is killed at first."""
    made: list[list[str]] = []

    def train(training):
        made.append(list(training))
        if len(made) == 3:
            raise KeyboardInterrupt
        folder = Path(training[training.index("--trainer.default_root_dir") + 1])
        folder.mkdir(parents=True)
        return Path(shutil.copyfile(tiny_checkpoint, folder / "best.ckpt"))

    monkeypatch.setattr("avloc.training.command.train", train)
    monkeypatch.chdir(tmp_path)
    return made


def test_a_killed_comparison_goes_on(words, trainings, tmp_path, capsys):
    assert main([*words, "--", "--trainer.max_epochs", "1"]) == 130
    assert len(trainings) == 3
    assert main([*words, "--", "--trainer.max_epochs", "1"]) == 0
    assert len(trainings) == 5  # the third one again, and the fourth
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("      finished before") == 2
    assert "[4/4] residual_grid, seed 3" in lines
    assert all(words[-2:] == ["--trainer.max_epochs", "1"] for words in trainings)
    seeds = [words[words.index("--seed_everything") + 1] for words in trainings]
    assert seeds == ["0", "0", "3", "3", "3"]
    table = lines[-4:]
    assert table[0].split() == ["mean", "AP", "±", "AP@0.5", "AP@0.75", "AP@0.95", "AR@100"]
    assert {line.split()[0] for line in table[1:3]} == {"logspec", "residual_grid"}
    assert table[1].split()[1:] == table[2].split()[1:]
    assert table[1].split()[2] == "0.00"  # one network under all names
    assert table[3] == "Strict, in percent, on dev; means over 2 seeds, ± their standard deviation."
    assert max(map(len, table)) <= 80
    document = json.loads((tmp_path / "scores.json").read_text())
    assert (document["split"], document["protocol"]) == ("dev", "lavdf")
    assert document["systems"][0]["extractors"] == ["logspec", "residual_grid"]
    assert set(document["systems"][0]["seeds"]) == {"0", "3"}
    assert main([*words, "--split", "test", "--", "--trainer.max_epochs", "1"]) == 0
    assert len(trainings) == 5  # another split needs no training


@pytest.mark.slow
def test_two_representations_are_trained(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words[words.index("residual_grid")] = "residual_grid,logspec"
    options = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--model.model.width", "8"]
    assert main([*words, "--seeds", "0", "--", *options]) == 0
    assert "on dev; one seed." in capsys.readouterr().out


def test_options_are_parsed(tmp_path):
    words = [
        "--config",
        "a",
        "b",
        "--root",
        str(tmp_path),
        "--store",
        str(tmp_path),
        "--protocol",
        "lavdf",
        "--out",
        "o",
    ]
    options = parse([*words, "--", "--trainer.max_epochs", "2"])
    assert (options.config, options.training) == (("a", "b"), ("--trainer.max_epochs", "2"))
    assert (options.seeds, options.extractors, options.split) == ((0,), (), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seeds", "one"], "want whole numbers, as 0,1,2, got 'one'"),
        (["--seeds", "-1,2"], "want seeds of at least 0, got '-1,2'"),
        (["--extractors", ","], "want names of cached features"),
        (["--config", "none"], "none: no such configuration"),
        (["--protocol", "none"], "unknown protocol 'none'"),
        (["--extractors", "wavlm,residual_grid"], "wavlm"),
    ],
)
def test_wrong_options_are_one_line(words, tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    assert main([*words, *(["=".join(change)] if change[0] == "--seeds" else change)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
