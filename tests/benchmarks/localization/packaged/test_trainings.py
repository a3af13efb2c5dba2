from __future__ import annotations

from types import SimpleNamespace

import pytest

from avloc.io.files import read_json
from avloc.models.packaged import STREAMS


@pytest.fixture
def trainings():
    from packaged import trainings

    return trainings


def options(folder, **given):
    """The options of train_packaged.py without those of a training, or with some."""
    values = {"out": folder, "config": "demo", "seed": 7, "recipe": "light", "epochs": None, "lr": None, "copies": None}
    return SimpleNamespace(**(values | given))


def test_each_network_has_a_training_of_its_own(trainings, tmp_path):
    assert [trainings.training_of(streams, options(tmp_path)) for streams in STREAMS] == [*trainings.NETWORKS.values()]


def test_the_options_of_the_command_line_come_first(trainings, tmp_path):
    training = trainings.training_of("audio", options(tmp_path, epochs=3, copies=0))
    assert (training.epochs, training.copies, training.words) == (3, 0, trainings.NETWORKS["audio"].words)


def test_a_training_leaves_its_checkpoint_and_its_settings(trainings, tmp_path, monkeypatch):
    best, trained = tmp_path / "best.ckpt", []
    best.write_bytes(b"weights")
    monkeypatch.setattr(trainings, "train", lambda words: trained.append(words) or best)
    monkeypatch.setattr(trainings, "parse_training", lambda words: SimpleNamespace(words=words))
    data = trainings.Data("lavdf", tmp_path, tmp_path / "store")
    given = options(tmp_path, copies=2, lr=0.002, epochs=5)
    final = trainings.run_training("both", data, given)
    assert final.read_bytes() == b"weights"
    (words,) = trained
    for name, value in (("--data.copies", "2"), ("--model.lr", "0.002"), ("--trainer.max_epochs", "5")):
        assert words[words.index(name) + 1] == value
    settings = read_json(tmp_path / "packaged" / "both.json", "settings")
    assert (settings["copies"], settings["recipe"], settings["lr"], settings["seed"]) == (2, "light", 0.002, 7)
    assert trainings.run_training("both", data, given) == final
    assert len(trained) == 1  # a finished training is kept
    final.unlink()
    trainings.run_training("both", data, options(tmp_path, copies=0))
    assert "--data.copies" not in trained[1]
    assert read_json(tmp_path / "packaged" / "both.json", "settings")["recipe"] == ""
