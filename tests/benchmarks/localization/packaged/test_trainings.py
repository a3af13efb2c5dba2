from __future__ import annotations

from types import SimpleNamespace

import pytest

from avloc.errors import AvlocError
from avloc.io.files import read_json
from avloc.models.packaged import STREAMS


@pytest.fixture
def trainings():
    from packaged import trainings

    return trainings


def options(folder, **given):
    """The options of train_packaged.py without those of a training, or with some."""
    values = {"out": folder, "config": None, "seed": 7, "recipe": "light", "epochs": None, "lr": None, "copies": None}
    return SimpleNamespace(**(values | given))


def test_each_network_has_a_training_of_its_own(trainings, tmp_path):
    assert [trainings.training_of(streams, options(tmp_path)) for streams in STREAMS] == [*trainings.NETWORKS.values()]


def test_the_options_of_the_command_line_come_first(trainings, tmp_path):
    training = trainings.training_of("audio", options(tmp_path, config="demo", epochs=3, copies=0))
    assert (training.config, training.epochs, training.copies, training.words) == (
        "demo",
        3,
        0,
        trainings.NETWORKS["audio"].words,
    )


@pytest.fixture
def trained(trainings, tmp_path, monkeypatch):
    """The words of the trainings that are run; each one leaves its number as weights."""
    runs = []

    def train(words):
        runs.append(words)
        (tmp_path / "best.ckpt").write_text(f"weights {len(runs)}")
        return tmp_path / "best.ckpt"

    monkeypatch.setattr(trainings, "train", train)
    monkeypatch.setattr(trainings, "parse_training", lambda words: SimpleNamespace(words=words))
    return runs


def value_of(words, name):
    return words[words.index(name) + 1] if name in words else None


def test_a_training_leaves_its_checkpoint_and_its_settings(trainings, trained, tmp_path):
    data, given = trainings.Data("lavdf", tmp_path, tmp_path / "store"), options(tmp_path, copies=2, lr=0.002, epochs=5)
    final = trainings.run_training("audio", data, given)
    assert final.read_text() == "weights 1"
    (words,) = trained
    names = ("--data.copies", "--model.lr", "--trainer.max_epochs", "--data.modality", "--data.seed")
    assert [value_of(words, name) for name in names] == ["2", "0.002", "5", "audio", "7"]
    settings = read_json(tmp_path / "packaged" / "audio.json", "settings")
    assert [settings[name] for name in ("copies", "recipe", "lr", "seed", "epochs")] == [2, "light", 0.002, 7, 5]
    assert trainings.run_training("audio", data, given) == final
    assert len(trained) == 1  # a finished training is kept
    with pytest.raises(
        AvlocError, match=r"audio\.json: a training with other settings, want .*; remove audio\.ckpt, or"
    ):
        trainings.run_training("audio", data, options(tmp_path, copies=3, lr=0.002, epochs=5))


def test_a_training_without_copies(trainings, trained, tmp_path):
    data = trainings.Data("lavdf", tmp_path, tmp_path / "store")
    trainings.run_training("both", data, options(tmp_path, copies=0, epochs=5))
    (words,) = trained
    assert [value_of(words, name) for name in ("--data.copies", "--trainer.max_epochs")] == [None, "5"]
    settings = read_json(tmp_path / "packaged" / "both.json", "settings")
    assert [settings[name] for name in ("copies", "recipe", "epochs")] == [0, "", 5]
