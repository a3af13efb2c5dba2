"""The trainings of the networks of the package: the options of each > `avloc train` > its checkpoint in OUT/packaged."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from avloc.cli.train import parse as parse_training
from avloc.datasets.readers.catalog import get_reader
from avloc.io.files import copy_file, write_json
from avloc.training import train

TRAININGS = "packaged"
"""The folder of the trainings, in OUT."""


class NetworkTraining(NamedTuple):
    """The training of one network of the package.

    Attributes:
        words: options beside those of all networks.
        epochs: None: the configuration's.
        lr: the highest learning rate; None: the configuration's.
        copies: augmented copies of each training clip.
    """

    words: tuple[str, ...] = ()
    epochs: int | None = None
    lr: float | None = None
    copies: int = 0


NETWORKS: Mapping[str, NetworkTraining] = {
    "both": NetworkTraining(epochs=6, lr=2e-3, copies=3),
    "audio": NetworkTraining(("--data.modality", "audio", "--model.model.width", "80")),
    "visual": NetworkTraining(("--data.modality", "visual", "--model.model.width", "80")),
}
"""By the streams that a network judges. Copies make the first robust (docs/augment.md); the others were not tried with them."""


class Data(NamedTuple):
    """A labelled set and its features.

    Attributes:
        dataset: the set's layout.
        root: its folder.
        store: the folder of its features.
    """

    dataset: str
    root: Path
    store: Path

    @property
    def validation(self) -> str:
        """The split to choose on."""
        return get_reader(self.dataset).validation


def training_of(streams: str, options: argparse.Namespace) -> NetworkTraining:
    """The training of a network, with the options of the command line in place of its own."""
    given = {name: getattr(options, name) for name in ("epochs", "lr", "copies")}
    return NETWORKS[streams]._replace(**{name: value for name, value in given.items() if value is not None})


def run_training(streams: str, data: Data, options: argparse.Namespace) -> Path:
    """Train a network, or continue, or return the checkpoint of a finished training."""
    folder = options.out / TRAININGS
    final = folder / f"{streams}.ckpt"
    if final.is_file():
        return final
    words = ["--config", options.config, "--data.dataset", data.dataset, "--data.root", str(data.root)]
    words += ["--data.store", str(data.store), "--data.seed", str(options.seed), "--seed_everything", str(options.seed)]
    training = training_of(streams, options)
    words += ["--trainer.default_root_dir", str(folder / f"training-{streams}"), *training.words]
    if training.epochs is not None:
        words += ["--trainer.max_epochs", str(training.epochs)]
    if training.lr is not None:
        words += ["--model.lr", str(training.lr)]
    if training.copies:
        words += ["--data.copies", str(training.copies)]
    if not sys.stderr.isatty():
        words += ["--trainer.enable_progress_bar", "false"]
    best = train(parse_training(words).words)
    settings = {"config": options.config, "epochs": training.epochs, "seed": options.seed}
    settings |= {"lr": training.lr, "copies": training.copies, "recipe": options.recipe if training.copies else ""}
    write_json(folder / f"{streams}.json", {**settings, "trained": datetime.date.today().isoformat()})
    copy_file(best, final)
    return final
