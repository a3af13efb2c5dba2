"""The trainings of the networks of the package: the options of each > `avloc train` > its checkpoint in OUT/packaged."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from avloc.cli.train import parse as parse_training
from avloc.datasets.readers.catalog import get_reader
from avloc.errors import AvlocError
from avloc.io.files import copy_file, read_json, write_json
from avloc.training import train

TRAININGS = "packaged"
"""The folder of the trainings, in OUT."""
COPIES_EPOCHS, COPIES_LR = 6, 1e-3
"""The length and the highest learning rate of the training that continues on copies."""


class NetworkTraining(NamedTuple):
    """The training of one network of the package: on clean clips, then, with copies, on these and their copies.

    Attributes:
        words: options beside those of all networks.
        epochs: on clean clips, and then with copies; None: the configuration's, and `COPIES_EPOCHS`.
        copies: augmented copies of each training clip.
    """

    words: tuple[str, ...] = ()
    epochs: int | None = None
    copies: int = 3


NETWORKS: Mapping[str, NetworkTraining] = {
    "both": NetworkTraining(),
    "audio": NetworkTraining(("--data.modality", "audio", "--model.model.width", "80")),
    "visual": NetworkTraining(("--data.modality", "visual", "--model.model.width", "80")),
}
"""By the streams that a network judges. Copies make a network robust (docs/augment.md)."""


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
    given = {name: getattr(options, name) for name in ("epochs", "copies")}
    return NETWORKS[streams]._replace(**{name: value for name, value in given.items() if value is not None})


def run_training(streams: str, data: Data, options: argparse.Namespace) -> Path:
    """Train a network, or continue, or return the checkpoint of a finished training.

    Raises:
        AvlocError: if a finished training, or its first stage, had other settings.
    """
    training = training_of(streams, options)
    clean = {"config": options.config, "epochs": training.epochs, "seed": options.seed}
    clean_options = [] if training.epochs is None else ["--trainer.max_epochs", str(training.epochs)]
    if not training.copies:
        settings = {**clean, "copies": 0, "copies_epochs": 0, "recipe": ""}
        return _run_stage(streams, settings, [*training.words, *clean_options], data, options)
    first = _run_stage(f"{streams}-clean", clean, [*training.words, *clean_options], data, options)
    epochs = COPIES_EPOCHS if training.epochs is None else training.epochs
    settings = {**clean, "copies": training.copies, "copies_epochs": epochs, "recipe": options.recipe}
    words = ["--init", str(first), "--data.copies", str(training.copies)]
    words += ["--model.lr", f"{COPIES_LR:g}", "--trainer.max_epochs", str(epochs)]
    return _run_stage(streams, settings, [*training.words, *words], data, options)


def _run_stage(
    name: str, settings: Mapping[str, object], words: Sequence[str], data: Data, options: argparse.Namespace
) -> Path:
    """Run `avloc train`, and keep its best checkpoint by a name, with its settings and the day beside it."""
    folder = options.out / TRAININGS
    final, facts = folder / f"{name}.ckpt", folder / f"{name}.json"
    if final.is_file():
        kept = read_json(facts, "settings of a finished training")
        if {**kept, "trained": ""} != {**settings, "trained": ""}:
            raise AvlocError(
                f"{facts}: a training with other settings, want {settings}; remove {final.name}, or name another OUT"
            )
        return final
    common = ["--config", options.config, "--data.dataset", data.dataset, "--data.root", str(data.root)]
    common += [
        "--data.store",
        str(data.store),
        "--data.seed",
        str(options.seed),
        "--seed_everything",
        str(options.seed),
    ]
    common += ["--trainer.default_root_dir", str(folder / f"training-{name}")]
    if not sys.stderr.isatty():
        common += ["--trainer.enable_progress_bar", "false"]
    best = train(parse_training([*common, *words]).words)
    write_json(facts, {**settings, "trained": datetime.date.today().isoformat()})
    copy_file(best, final)
    return final
