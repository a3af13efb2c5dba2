from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from avloc.cli.main import main
from avloc.cli.train import CONFIGS, packaged_configs, parse
from avloc.datasets import FeatureData
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.catalog import build_extractor, parse_extractors
from avloc.feature_extraction.store.feature_store import FeatureStore


def test_training_refuses_data_that_does_not_fit(demo, tmp_path, capsys):
    common = shlex.split(
        f"train --config demo --data.root {demo / 'clips'} --trainer.default_root_dir {tmp_path} "
        "--trainer.enable_progress_bar false"
    )
    store = ["--data.store", str(demo / "features")]
    assert main([*common, *store, "--model.model.init_args.audio_dim", "64"]) == 2
    assert "the network wants audio features of width 64, the store's have 513" in capsys.readouterr().err
    assert main([*common, *store, "--data.extractors", "[logmel]"]) == 2
    assert "no features of 'logmel', the store has: logspec, residual_grid" in capsys.readouterr().err
    assert main([*common, "--data.store", str(tmp_path / "none")]) == 2
    assert main([*common, *store, "--resume", str(tmp_path / "no.ckpt")]) == 2
    assert main(["train", "--config", "nothing"]) == 2
    assert f"one that comes with avloc: {', '.join(sorted(packaged_configs()))}" in capsys.readouterr().err


def _train(demo: Path, root: Path, *words: str) -> int:
    return main(
        [
            "train",
            "--config",
            "demo",
            "--data.root",
            str(demo / "clips"),
            "--data.store",
            str(demo / "features"),
            "--trainer.default_root_dir",
            str(root),
            "--trainer.enable_progress_bar",
            "false",
            *words,
        ]
    )


def _losses(root: Path) -> dict[int, float]:
    """The training loss of each epoch, of all versions of the log."""
    losses = {}
    for path in sorted(root.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row.get("train/loss"):
                losses[int(row["epoch"])] = float(row["train/loss"])
    return losses


def test_resumed_run_equals_an_uninterrupted_one(demo: Path, tmp_path: Path, capsys, monkeypatch):
    from avloc.training.module import LocalizationModule

    assert _train(demo, tmp_path / "whole", "--trainer.max_epochs", "3") == 0
    plain, stopped = LocalizationModule.on_train_epoch_start, []

    def stop_once(self: LocalizationModule) -> None:
        if self.current_epoch == 2 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        plain(self)

    monkeypatch.setattr(LocalizationModule, "on_train_epoch_start", stop_once)
    capsys.readouterr()
    assert _train(demo, tmp_path / "stopped", "--trainer.max_epochs", "3") == 130
    assert capsys.readouterr().err.endswith("stopped; finished work is kept, run the same command again to continue\n")
    assert _train(demo, tmp_path / "stopped", "--trainer.max_epochs", "3") == 0
    assert "resuming from" in capsys.readouterr().out
    whole, parts = _losses(tmp_path / "whole"), _losses(tmp_path / "stopped")
    assert list(whole) == list(parts) == [0, 1, 2]
    assert parts == pytest.approx(whole, abs=1e-6)
    last = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    # Another configuration is not mixed with the run that is there.
    assert _train(demo, tmp_path / "whole", "--trainer.max_epochs", "1") == 2
    assert "holds a run with another configuration" in capsys.readouterr().err
    assert _train(demo, tmp_path / "whole", "--trainer.max_epochs", "1", "--overwrite", "true") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data.batch_size", "0"), "want batch_size ≥ 1"),
        (("--data.hop_s", "0"), "hop_s > 0"),
        (("--model.warmup", "1"), "0 ≤ warmup < 1"),
        (("--trainer.max_epochs", "-1"), "trainer.max_epochs must be at least 1"),
        (("--trainer.max_epochs", "many"), "(see avloc train --help-all)"),
        (("--colour", "red"), "colour does not exist; a run has config, "),
        (
            ("--data.btach_size", "3"),
            "data.btach_size does not exist (did you mean data.batch_size?); FeatureData has dataset, ",
        ),
        (("--model.model.widht", "3"), "model.model.widht does not exist (did you mean model.model.width?)"),
        (("--model.lrr", "3"), "model.lrr does not exist (did you mean model.lr?); LocalizationModule has model, lr, "),
        (
            ("--trainer.max_epoch", "3"),
            "trainer.max_epoch does not exist (did you mean trainer.max_epochs?)",
        ),  # no abbreviation
        (("--data.batch_size", "many"), "data.batch_size: want int, got 'many' (see avloc train --help-all)"),
        (
            ("--data", "FeatureDat"),
            "data: want a class by its dotted path, such as avloc.datasets.FeatureData, got FeatureDat",
        ),
        (("--resume", "none.ckpt"), "no such checkpoint"),
    ],
)
def test_wrong_settings_are_one_line(demo, tmp_path, capsys, words, message):
    assert _train(demo, tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_configuration_must_name_its_data_class(demo, tmp_path, capsys):
    text = (CONFIGS / "demo.yaml").read_text()
    flat = text[: text.index("data:")] + "data:\n  dataset: lavdf\n" + text[text.index("trainer:") :]
    (tmp_path / "flat.yaml").write_text(flat)
    arguments = ["train", "--config", str(tmp_path / "flat.yaml"), "--data.root", str(demo / "clips")]
    assert main([*arguments, "--trainer.default_root_dir", str(tmp_path)]) == 2
    assert "data: must name its class, as class_path" in capsys.readouterr().err


def test_resume_needs_a_checkpoint_that_fits(demo, tmp_path, capsys):
    text = tmp_path / "text.ckpt"
    text.write_text("none")
    assert _train(demo, tmp_path / "r", "--resume", str(text)) == 2
    assert "not a checkpoint" in capsys.readouterr().err
    words = ("--resume", str(demo / "checkpoint.ckpt"), "--model.model.init_args.width", "48")
    assert _train(demo, tmp_path / "r", *words) == 2
    assert "does not fit the configuration's network" in capsys.readouterr().err


def test_packaged_configurations_are_resolved_by_name(tmp_path, monkeypatch):
    assert {"demo", "demo_batfd", "lavdf/batfd", "avdeepfake1m/boundary_transformer"} <= set(packaged_configs())
    monkeypatch.chdir(tmp_path)
    expected = ("--config", str(CONFIGS / "demo.yaml"))
    assert parse(["--config", "demo", "--data.root", ".", "--data.store", "."]).words[:2] == expected
    assert parse(["--config=configs/demo.yaml", "--data.root", ".", "--data.store=."]).words[0] == "=".join(expected)


@pytest.mark.parametrize("name", ["demo", "demo_batfd", "demo_whisper"])
def test_widths_of_a_configuration_are_those_of_its_extractors(name):
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    network, names = settings["model"]["model"]["init_args"], settings["data"]["init_args"]["extractors"]
    extractors = [build_extractor(name) for name in names]
    for modality in ("audio", "visual"):
        assert network[f"{modality}_dim"] == sum(e.dim for e in extractors if e.modality == modality)


def test_help_lists_the_configurations(capsys):
    assert parse(["--help"]).exit_code == 0
    assert parse([]).exit_code == 2
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text for name in ("demo_batfd", "lavdf/batfd", "lavdf/wavlm_finetune"))


def test_help_all_lists_the_options_of_data_and_networks(capsys):
    assert main(["train", "--help-all"]) == 0
    text = capsys.readouterr().out
    for option in ("--trainer.max_epochs", "--model.lr", "--data.batch_size", "--model.model.width", "--init"):
        assert option in text


def test_many_rows_has_points_of_each_modality():
    """Otherwise it is the network of `boundary_transformer`; decoded, every modality has rows."""
    from avloc.models import BoundaryTransformer

    names = ("avdeepfake1m/many_rows", "avdeepfake1m/boundary_transformer")
    many, usual = (
        yaml.safe_load(packaged_configs()[name].read_text())["model"]["model"]["init_args"] for name in names
    )
    small = {"audio_dim": 39, "visual_dim": 4, "width": 12}
    network = BoundaryTransformer(**{**many, **small})
    assert len(network.target_maker.groups) == 2
    assert len(BoundaryTransformer(**{**usual, **small}).target_maker.groups) == 1
    assert {name: value for name, value in many.items() if usual.get(name) != value} == {
        "modality_points": True,
        "merge_iou": 0.8,
    }
    assert network.decoding.merge_iou == 0.8


def header_arguments(name: str) -> dict[str, dict[str, object]]:
    """The extractors' arguments in the header of a configuration, with random weights in the place of files."""
    text = packaged_configs()[name.replace("many_rows", "boundary_transformer")].read_text()
    specifications = re.findall(r"--extractors '(.*)'", text)[0]
    return {
        extractor: {key or "random": value if key else True for key, value in arguments.items()}
        for extractor, arguments in parse_extractors(specifications)
    }


RECIPES = ("_finetune", "_only", "boundary_transformer", "many_rows")


@pytest.mark.parametrize("name", [n for n in sorted(packaged_configs()) if n.endswith(RECIPES)])
def test_the_data_of_the_recipes_fit_their_networks(name, tmp_path):
    """Widths and rates of the extractors, each from its own description; a specialist's store lacks the other stream."""
    config, arguments = yaml.safe_load(packaged_configs()[name].read_text()), header_arguments(name)
    data, network = config["data"]["init_args"], config["model"]["model"]["init_args"]
    store = FeatureStore(tmp_path / "s")
    for extractor in (build_extractor(each, arguments.get(each)) for each in data["extractors"]):
        if data.get("modality") in (None, extractor.modality):
            store.prepare(extractor.describe())
    features = FeatureData(**data | {"root": tmp_path, "store": store.root})
    features.check_network(
        SimpleNamespace(cached_features=True, arguments={"visual_front_end": None, "audio_front_end": None} | network)
    )
    assert config["model"].get("front_end_lr", 0) < config["model"]["lr"]
    assert config["trainer"]["max_epochs"] == (15 if name.startswith("avdeepfake1m/") else 20)
    layers = {each: store.describe(each).layers for each in store.extractors()}
    assert layers.get("wavlm_base_plus", 1) == network.get("audio_layers", 1)  # side by side, never averaged
    assert not any("mean" in each for each in arguments.values())
    lines = packaged_configs()[name].read_text().splitlines()
    assert f"#   avloc train --config {name} --data.root {data['root']} --data.store features" in lines


def test_a_training_without_a_store(tiny_set, tmp_path, capsys):
    words = ["--config", "demo", "--data.root", str(tiny_set), "--trainer.default_root_dir", str(tmp_path / "run")]
    assert "--data.from_clips" in parse([*words, "--data.store", "null", "--data.from_clips", "true"]).words
    for options, message in {
        ("--data.from_clips", "true"): "from_clips decodes the clips, so the store features would not be read",
        ("--data.store", "null"): "want a store of features (--data.store FOLDER), or --data.from_clips true",
    }.items():
        assert main(["train", *words, *options]) == 2
        assert capsys.readouterr().err.startswith(f"avloc train: error: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(packaged_configs()))
def test_packaged_configurations_use_public_names(name):
    lines = [line for line in packaged_configs()[name].read_text().splitlines() if "class_path:" in line]
    assert len(lines) == 2
    for line in lines:
        room, _, public = line.partition("class_path:")[2].strip().rpartition(".")
        assert room in ("avloc.models", "avloc.datasets")
        assert public in __import__(room, fromlist=["__all__"]).__all__


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("avloc.datasets.data_modules.FeatureData", "avloc.datasets.FeatureData"),
        ("avloc.datasets.data_modules.ClipData", "avloc.datasets.ClipData"),
        ("avloc.datasets.loading.data_modules.FeatureData", "avloc.datasets.FeatureData"),
        ("avloc.models.boundary_transformer.BoundaryTransformer", "avloc.models.BoundaryTransformer"),
        ("avloc.models.batfd.BATFD", "avloc.models.BATFD"),
        ("avloc.models.batfd_plus.BATFDPlus", "avloc.models.BATFDPlus"),
    ],
)
def test_moved_class_paths_name_the_new_one(tmp_path, old, new):
    config = tmp_path / "old.yaml"
    config.write_text(f"model:\n  model:\n    class_path: {old}\n")
    with pytest.raises(AvlocError, match=f"old.yaml: class_path {old} has moved; want {new}$"):
        parse(["--config", str(config)])
    with pytest.raises(AvlocError, match=f"--model.model: class_path {old} has moved; want {new}$"):
        parse(["--config", "demo", "--model.model", old])


def test_wrong_paths_fail_while_parsing(tmp_path):
    with pytest.raises(AvlocError, match="none: no such feature store \\(data.store\\)"):
        parse(["--config", "demo", "--data.root", str(tmp_path), "--data.store", "none"])
    with pytest.raises(AvlocError, match="none: no such folder of the dataset \\(data.root\\)"):
        parse(["--config", "demo", "--data.root", "none", "--data.store", str(tmp_path)])
    (tmp_path / "odd.yaml").write_text("a: [")
    with pytest.raises(AvlocError, match="odd.yaml: not a YAML file"):
        parse(["--config", str(tmp_path / "odd.yaml")])
    with pytest.raises(AvlocError, match="avloc.datasets.Nothing does not exist"):
        parse(["--config", "demo", "--data", "avloc.datasets.Nothing"])
