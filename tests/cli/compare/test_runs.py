from __future__ import annotations

from pathlib import Path

import pytest

from avloc.cli.compare.runs import (
    ComparisonData,
    System,
    config_data,
    labels,
    make_systems,
    read_config,
    representation_words,
    run_system,
    training_words,
)
from avloc.cli.train import packaged_configs
from avloc.errors import AvlocError

CONFIG = packaged_configs()["representations"]


def test_systems_are_named_by_what_differs():
    pairs = [("a", "v"), ("b", "v")]
    assert [s.name for s in make_systems([Path("x.yaml"), Path("d/y.yaml")], [])] == ["x", "y"]
    both = make_systems([Path("x.yaml"), Path("y.yaml")], pairs)
    assert [s.name for s in both] == ["x-a+v", "x-b+v", "y-a+v", "y-b+v"]
    assert list(labels(both).values()) == ["x-a", "x-b", "y-a", "y-b"]
    assert list(labels(make_systems([Path("x.yaml")], [("a", "v")])).values()) == ["a+v"]
    assert list(labels(make_systems([Path("x.yaml")], [("v",), ("a", "v")])).values()) == ["v", "a"]
    with pytest.raises(AvlocError, match="two systems are named x; give each configuration"):
        make_systems([Path("x.yaml"), Path("d/x.yaml")], [])


def test_features_set_widths_and_rates(tiny_store):
    words = representation_words(System("x", CONFIG, ("logspec", "residual_grid")), tiny_store)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options == {
        "--data.extractors": "[logspec, residual_grid]",
        "--model.model.audio_dim": "513",
        "--model.model.visual_dim": "320",
        "--model.model.audio_rows_per_step": "4.0",
        "--model.model.visual_rows_per_step": "1.0",
    }
    alone = representation_words(System("x", CONFIG, ("residual_grid",)), tiny_store)
    assert alone[-4:] == ["--model.model.audio_rows_per_step", "null", "--model.model.visual_rows_per_step", "1.0"]
    assert representation_words(System("x", CONFIG), tiny_store) == []


def test_features_on_steps_have_no_rates(tiny_store, tmp_path):
    (tmp_path / "c.yaml").write_text("model: {model: {init_args: {audio_dim: 1}}}")
    words = representation_words(System("x", tmp_path / "c.yaml", ("logspec", "residual_grid")), tiny_store)
    assert not any("rows_per_step" in word for word in words)


def test_configurations_are_read():
    assert config_data(read_config(CONFIG))["hop_s"] == 0.04
    assert config_data({"data": {"dataset": "lavdf"}}) == {"dataset": "lavdf"}
    assert config_data({"data": None}) == {}


def test_a_file_that_is_no_configuration(tmp_path):
    for text, message in (("[1]", "want a configuration of avloc train, got list"), ("a: [", "not a YAML file")):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(AvlocError, match=message):
            read_config(tmp_path / "c.yaml")


def test_more_options_come_last(tmp_path):
    data = ComparisonData("lavdf", tmp_path, tmp_path, "dev", "cpu")
    words = training_words(System("x", CONFIG), 3, data, ["--data.seed", "7"], tmp_path / "run")
    assert words[-2:] == ["--data.seed", "7"]
    assert words[words.index("--seed_everything") + 1] == "3"


def test_a_folder_of_another_run_is_refused(tmp_path, tiny_store, tiny_set):
    data = ComparisonData("lavdf", tiny_set, tiny_store, "dev", "cpu")
    run = tmp_path / "x" / "seed-0"
    run.mkdir(parents=True)
    (run / "predictions-dev.json").write_text("{}")
    system = System("x", CONFIG)
    assert run_system(system, 0, data, [], tmp_path) == (run / "predictions-dev.json", True)
    with pytest.raises(AvlocError, match="holds another run, whose training was .*; remove it, or name another --out"):
        run_system(system, 0, data, ["--trainer.max_epochs", "3"], tmp_path)
