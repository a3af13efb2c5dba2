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
    values = {"out": folder, "config": "demo", "seed": 7, "recipe": "light", "epochs": None, "copies": None}
    return SimpleNamespace(**(values | given))


def test_each_network_has_a_training_of_its_own(trainings, tmp_path):
    assert [trainings.training_of(streams, options(tmp_path)) for streams in STREAMS] == [*trainings.NETWORKS.values()]


def test_the_options_of_the_command_line_come_first(trainings, tmp_path):
    training = trainings.training_of("audio", options(tmp_path, epochs=3, copies=0))
    assert (training.epochs, training.copies, training.words) == (3, 0, trainings.NETWORKS["audio"].words)


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


def test_a_training_on_copies_continues_the_one_on_clean_clips(trainings, trained, tmp_path):
    data, given = trainings.Data("lavdf", tmp_path, tmp_path / "store"), options(tmp_path, copies=2)
    final = trainings.run_training("audio", data, given)
    clean = tmp_path / "packaged" / "audio-clean.ckpt"
    assert (clean.read_text(), final.read_text()) == ("weights 1", "weights 2")
    first, second = trained
    names = ("--init", "--data.copies", "--model.lr", "--trainer.max_epochs")
    assert [value_of(first, name) for name in names] == [None] * 4
    assert [value_of(second, name) for name in names] == [str(clean), "2", "0.001", "6"]
    assert [value_of(words, "--data.modality") for words in trained] == ["audio"] * 2
    assert value_of(first, "--trainer.default_root_dir") != value_of(second, "--trainer.default_root_dir")
    settings = read_json(tmp_path / "packaged" / "audio.json", "settings")
    assert [settings[name] for name in ("copies", "copies_epochs", "recipe", "seed", "epochs")] == [
        2,
        6,
        "light",
        7,
        None,
    ]
    assert trainings.run_training("audio", data, given) == final
    final.unlink()
    trainings.run_training("audio", data, given)
    assert len(trained) == 3  # a finished first stage is kept
    assert value_of(trained[2], "--init") == str(clean)


def test_a_training_without_copies(trainings, trained, tmp_path):
    data = trainings.Data("lavdf", tmp_path, tmp_path / "store")
    trainings.run_training("both", data, options(tmp_path, copies=0, epochs=5))
    (words,) = trained
    assert [value_of(words, name) for name in ("--init", "--data.copies", "--trainer.max_epochs")] == [None, None, "5"]
    settings = read_json(tmp_path / "packaged" / "both.json", "settings")
    assert [settings[name] for name in ("copies", "copies_epochs", "recipe", "epochs")] == [0, 0, "", 5]


@pytest.mark.parametrize(("removed", "given"), [("", {"copies": 3}), ("audio.ckpt", {"copies": 2, "seed": 8})])
def test_a_finished_stage_with_other_settings_is_refused(trainings, trained, tmp_path, removed, given):
    data = trainings.Data("lavdf", tmp_path, tmp_path / "store")
    trainings.run_training("audio", data, options(tmp_path, copies=2))
    if removed:
        (tmp_path / "packaged" / removed).unlink()
    name = "audio-clean" if removed else "audio"
    with pytest.raises(
        AvlocError, match=rf"{name}\.json: a training with other settings, want .*; remove {name}\.ckpt"
    ):
        trainings.run_training("audio", data, options(tmp_path, **given))
    assert len(trained) == 2
