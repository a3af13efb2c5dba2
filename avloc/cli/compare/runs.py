"""Configurations, representations and seeds > runs: each trains, then predicts a split, in a folder of its own. They resume."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError

SETTINGS_NAME, TRAINED_NAME = "settings.json", "trained.json"


@dataclass(frozen=True, slots=True)
class ComparisonData:
    """The data of all runs.

    Attributes:
        dataset: the dataset's layout.
        root: the dataset's folder.
        store: the feature store.
        split: the split that is predicted and scored.
        device: of the prediction.
    """

    dataset: str
    root: Path
    store: Path
    split: str
    device: str


@dataclass(frozen=True, slots=True)
class System:
    """A configuration on a representation.

    Attributes:
        name: its name in the table and of its folder.
        config: the configuration's file.
        extractors: the cached features that it is trained on; none: the configuration's own.
    """

    name: str
    config: Path
    extractors: tuple[str, ...] = ()


def make_systems(configs: Sequence[Path], representations: Sequence[Sequence[str]]) -> list[System]:
    """Return every configuration with every representation, named by what differs.

    Raises:
        AvlocError: if two have the same name.

    >>> [system.name for system in make_systems([Path("a.yaml")], [("mfcc", "mouth"), ("wavlm", "mouth")])]
    ['mfcc+mouth', 'wavlm+mouth']
    """
    systems = []
    for config in configs:
        for extractors in representations or [()]:
            parts = [config.stem] * (len(configs) > 1 or not extractors) + ["+".join(extractors)] * bool(extractors)
            systems.append(System("-".join(parts), config, tuple(extractors)))
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise AvlocError(f"two systems are named {name}; give each configuration a file name of its own")
    return systems


def labels(systems: Sequence[System]) -> dict[str, str]:
    """Return a short label by name: without the features that all systems have, unless nothing is left.

    >>> list(labels(make_systems([Path("a.yaml")], [("mfcc", "mouth"), ("wavlm", "mouth")])).values())
    ['mfcc', 'wavlm']
    """
    shared = set.intersection(*(set(system.extractors) for system in systems))
    short = {}
    for system in systems:
        distinct = [name for name in system.extractors if name not in shared]
        short[system.name] = (
            system.name.replace("+".join(system.extractors), "+".join(distinct)) if distinct else system.name
        )
    return short if len(set(short.values())) == len(short) else {name: name for name in short}


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        AvlocError: if it is no mapping.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AvlocError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict):
        raise AvlocError(f"{path}: want a configuration of avloc train, got {type(config).__name__}")
    return config


def config_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a configuration's data."""
    data = config.get("data")
    settings = data.get("init_args", data) if isinstance(data, dict) else None
    return settings if isinstance(settings, dict) else {}


def representation_words(system: System, store: Path) -> list[str]:
    """Return the options of `avloc train` that put a system's features into its configuration: names, widths and rates.

    Rates are set if the configuration's network takes streams at their own.

    Raises:
        AvlocError: if the store lacks a feature.
    """
    from avloc.core.descriptions import TrainingContext
    from avloc.core.records import MODALITIES
    from avloc.feature_extraction.store.feature_store import FeatureStore

    if not system.extractors:
        return []
    config = read_config(system.config)
    model = config.get("model", {}).get("model", {})
    arguments = model.get("init_args", {}) if isinstance(model, dict) else {}
    descriptions = tuple(FeatureStore(store).describe(name) for name in system.extractors)
    words = ["--data.extractors", f"[{', '.join(system.extractors)}]"]
    for modality in MODALITIES:
        dim = sum(each.dim for each in descriptions if each.modality == modality)
        words += [f"--model.model.{modality}_dim", str(dim)]
    if any(arguments.get(f"{modality}_rows_per_step") is not None for modality in MODALITIES):
        hop_s = float(config_data(config).get("hop_s", 0.04))
        for modality, rate in TrainingContext(hop_s, descriptions, native_rate=True).rows_per_step().items():
            words += [f"--model.model.{modality}_rows_per_step", "null" if rate is None else repr(rate)]
    return words


def training_words(system: System, seed: int, data: ComparisonData, options: Sequence[str], folder: Path) -> list[str]:
    """Return the options of `avloc train` for a run; `options` come last, so they win."""
    words = ["--config", str(system.config), "--data.dataset", data.dataset, "--data.root", str(data.root)]
    words += ["--data.store", str(data.store), *representation_words(system, data.store)]
    words += ["--seed_everything", str(seed), "--data.seed", str(seed)]
    return [*words, "--trainer.default_root_dir", str(folder / "training"), *options]


def run_system(system: System, seed: int, data: ComparisonData, options: Sequence[str], out: Path) -> tuple[Path, bool]:
    """Train and predict, or go on with it.

    Args:
        system: the configuration and its features.
        seed: of the training.
        data: of all runs.
        options: more options of `avloc train`.
        out: the comparison's folder.

    Returns:
        The prediction file, and whether it existed.

    Raises:
        AvlocError: if the folder holds a run of other settings, or the run fails.
    """
    from avloc.cli import predict
    from avloc.cli.train import parse as parse_training
    from avloc.io.files import read_json, write_json
    from avloc.training.command import train

    folder = out / system.name / f"seed-{seed}"
    predictions, trained = folder / f"predictions-{data.split}.json", folder / TRAINED_NAME
    words = training_words(system, seed, data, options, folder)
    _claim(folder, system, words, data)
    if predictions.is_file():
        return predictions, True
    if not trained.is_file():
        best = train(parse_training(words).words)
        write_json(trained, {"checkpoint": str(best.resolve().relative_to(folder.resolve()))})
    checkpoint = folder / read_json(trained, "marker of a training")["checkpoint"]
    files = ["--checkpoint", str(checkpoint), "--out", str(predictions), "--store", str(data.store)]
    files += ["--dataset", data.dataset, "--root", str(data.root), "--split", data.split, "--device", data.device]
    if predict.run(files):
        raise AvlocError(f"{predictions}: clips failed, see the table beside it; remove the file when that is mended")
    return predictions, False


def _claim(folder: Path, system: System, words: Sequence[str], data: ComparisonData) -> None:
    """Mark a folder as this run's, or check that it holds the same run.

    Raises:
        AvlocError: naming the first setting that differs.
    """
    from avloc.io.files import read_json, write_json

    fixed = (
        "--config",
        "--data.root",
        "--data.store",
        "--trainer.default_root_dir",
    )  # other machines name them differently
    options = [word for k, word in enumerate(words) if word not in fixed and (k == 0 or words[k - 1] not in fixed)]
    settings = {
        "config_sha256": hashlib.sha256(system.config.read_bytes()).hexdigest(),
        "training": options,
        "dataset": data.dataset,
    }
    path = folder / SETTINGS_NAME
    if not path.is_file():
        write_json(path, settings)
    earlier = read_json(path, "settings of a run")
    for name, value in settings.items():
        if not isinstance(earlier, dict) or earlier.get(name) != value:
            was = earlier.get(name) if isinstance(earlier, dict) else earlier
            raise AvlocError(
                f"{folder}: holds another run, whose {name} was {was!r}, now it is {value!r}; remove it, or name another --out"
            )
