"""The trainings of the networks of the package: the options of each > `avloc train` > its checkpoint in OUT/packaged."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from packaged.joining import MARKER

from avloc.cli.train import parse as parse_training
from avloc.datasets.readers.catalog import get_reader
from avloc.errors import AvlocError
from avloc.io.files import copy_file, file_sha256, read_json, write_json
from avloc.training import train

TRAININGS = "packaged"
"""The folder of the trainings, in OUT."""


class NetworkTraining(NamedTuple):
    """The training of one network of the package.

    Attributes:
        config: the configuration.
        words: options beside those of all networks.
        epochs: None: the configuration's.
        lr: the highest learning rate; None: the configuration's.
        copies: augmented copies of each training clip.
    """

    config: str = "demo_whisper"
    words: tuple[str, ...] = ()
    epochs: int | None = None
    lr: float | None = None
    copies: int = 0


NETWORKS: Mapping[str, NetworkTraining] = {
    "both": NetworkTraining(epochs=6, lr=2e-3, copies=3),
    "audio": NetworkTraining(words=("--data.modality", "audio", "--model.model.width", "80"), epochs=6, lr=2e-3),
    "visual": NetworkTraining(
        config="demo",
        words=("--data.modality", "visual", "--model.model.width", "80"),
        epochs=6,
        lr=2e-3,
        copies=3,
    ),
}
"""By the streams that a network judges. Copies keep blurred, small and compressed pictures from raising false alarms, if a
network learns from them from the beginning (docs/augment.md); sound raises few without them, and finds less with them."""


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
    def digest(self) -> str:
        """The first digits of the hash of the marker of a set of the benchmark; empty: another set."""
        marker = self.root / MARKER
        return file_sha256(marker)[:12] if marker.is_file() else ""

    @property
    def validation(self) -> str:
        """The split to choose on."""
        return get_reader(self.dataset).validation


def training_of(streams: str, options: argparse.Namespace) -> NetworkTraining:
    """The training of a network, with the options of the command line in place of its own."""
    overrides = {name: getattr(options, name) for name in ("config", "epochs", "lr", "copies")}
    return NETWORKS[streams]._replace(**{name: value for name, value in overrides.items() if value is not None})


def run_training(streams: str, data: Data, options: argparse.Namespace) -> Path:
    """Train a network, or continue, or return the checkpoint of a finished training.

    Raises:
        AvlocError: if the finished training had other settings.
    """
    folder, training = options.out / TRAININGS, training_of(streams, options)
    final, facts = folder / f"{streams}.ckpt", folder / f"{streams}.json"
    settings = {"config": training.config, "epochs": training.epochs, "seed": options.seed, "lr": training.lr}
    settings |= {"words": [*training.words], "copies": training.copies, "set": data.digest}
    settings |= {"recipe": options.recipe if training.copies else ""}
    if final.is_file():
        kept = read_json(facts, "settings of a finished training")
        if {**kept, "trained": ""} != {**settings, "trained": ""}:
            cure = f"remove {final.name}, or name another OUT"
            raise AvlocError(f"{facts}: a training with other settings, want {settings}; {cure}")
        return final
    words = ["--config", training.config, "--data.dataset", data.dataset, "--data.root", str(data.root)]
    words += ["--data.store", str(data.store), "--data.seed", str(options.seed), "--seed_everything", str(options.seed)]
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
    write_json(facts, {**settings, "trained": datetime.date.today().isoformat()})
    copy_file(best, final)
    return final
