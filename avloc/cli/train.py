"""`avloc train`: LightningCLI over `LocalizationModule` and `FeatureData`."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError

CONFIGS = Path(__file__).parent.parent / "configs"
HELP = """usage: avloc train --config CONFIG [--data.root R --data.store S ...] [--resume CHECKPOINT]

Train a network on cached features. CONFIG is a YAML file, or the name of one that comes with avloc: {names}.
Everything in it can be overridden on the command line (LightningCLI). `avloc train --help-all` lists every option.
Checkpoints, logs (CSV, TensorBoard) and the resolved configuration are written under --trainer.default_root_dir.

example:
  avloc train --config demo --data.root clips --data.store features --trainer.default_root_dir run
"""


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(HELP.format(names=", ".join(sorted(_names()))))
        return 0 if words else 2
    train(["--help" if w == "--help-all" else w for w in words])
    return 0


def _names() -> dict[str, Path]:
    return {str(p.relative_to(CONFIGS).with_suffix("")): p for p in CONFIGS.rglob("*.yaml")}


def _resolve(words: list[str]) -> list[str]:
    """Replace the name of a packaged configuration by its path."""
    names = _names()
    resolved = []
    for k, word in enumerate(words):
        key, equals, value = word.partition("=")
        if word and k and words[k - 1] == "--config":
            resolved.append(_config(word, names))
        elif key == "--config" and equals:
            resolved.append(f"--config={_config(value, names)}")
        else:
            resolved.append(word)
    return resolved


def _config(value: str, names: dict[str, Path]) -> str:
    path = (
        names.get(value.removesuffix(".yaml").removeprefix("configs/"), Path(value))
        if not Path(value).is_file()
        else Path(value)
    )
    if not path.is_file():
        raise AvlocError(f"{value}: no such configuration; those that come with avloc: {', '.join(sorted(names))}")
    return str(path)


def train(arguments: Sequence[str]) -> Path:
    """Train by a configuration, validate, keep the best checkpoint; returns its path.

    Raises:
        AvlocError: if the data does not fit the configuration.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    from avloc.datasets.features import FeatureData
    from avloc.training import LocalizationModule

    class Cli(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument("--resume", type=str, default=None, help="go on from this checkpoint")

        def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
            """Logs and checkpoints go under the run's folder unless the configuration names other places."""
            root = self._get(self.config_init, "trainer.default_root_dir") or "."
            if self._get(self.config_init, "trainer.logger") is None:
                kwargs["logger"] = [
                    CSVLogger(root, name="logs"), TensorBoardLogger(root, name="tensorboard")
                ]  # fmt: skip
            trainer = super().instantiate_trainer(**kwargs)
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                    callback.dirpath = str(Path(root).resolve() / "checkpoints")
            return trainer

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its hints about other products
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*(exists and is not empty|already exists).*"
        )  # a second run is meant
        # Loading in the training process is right for features in a local store; Lightning suggests workers always.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter is intended.*")
        warnings.filterwarnings("ignore", message=".*(isinstance|LeafSpec).*", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        cli = Cli(
            LocalizationModule, FeatureData, run=False, args=_resolve(list(arguments)), seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
        )  # fmt: skip
        resume = cli.config.get("resume")
        if resume is not None and not Path(resume).is_file():
            raise AvlocError(f"{resume}: no such checkpoint to resume from")
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume, weights_only=True)
    best = getattr(cli.trainer.checkpoint_callback, "best_model_path", "")
    if not best:
        raise AvlocError("the training ended without a checkpoint; does the configuration have a ModelCheckpoint?")
    print(f"best checkpoint: {best}", file=sys.stderr)
    return Path(best)
