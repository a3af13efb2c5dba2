"""`avloc train`: LightningCLI over `LocalizationModule` and the data modules."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import AvlocError, CheckpointError, first_line
from avloc.io.files import write_text
from avloc.models.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from torch import nn

RUN_FILE = "run.json"
CONFIGS = Path(__file__).parent.parent / "configs"
HELP = """usage: avloc train --config CONFIG [--data.root R --data.store S …] [--resume CHECKPOINT | --overwrite true]

Train a network on cached features, or on the clips. CONFIG is a YAML file, or the name of one that comes with avloc: {names}.
Everything in it can be overridden on the command line (LightningCLI). `avloc train --help-all` lists every option.
Checkpoints, logs (CSV, TensorBoard) and the resolved configuration are written under --trainer.default_root_dir. The same
command again goes on where that run stopped; with another configuration it wants --resume CHECKPOINT, --overwrite true or
another folder.

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
        AvlocError: if the configuration is wrong, or the data does not fit it.
    """
    import pytorch_lightning  # noqa: F401 - sets up its loggers, so before they are quietened

    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):  # hints about other products
        logging.getLogger(name).setLevel(logging.WARNING)
    interrupt = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*(exists and is not empty|already exists).*"
        )  # a second run is meant
        # Loading in the training process is right for features in a local store; Lightning suggests workers always.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter is intended.*")
        warnings.filterwarnings("ignore", message=".*(isinstance|LeafSpec).*", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            with _one_line_errors():
                cli = _made(_resolve(list(arguments)))
                resume = _where_to_go_on(cli)
                if resume is not None:
                    _check_resumable(resume, cli.model.model)
                cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume, weights_only=True)
        finally:
            signal.signal(signal.SIGINT, interrupt)  # which Lightning switches off
    best = getattr(cli.trainer.checkpoint_callback, "best_model_path", "")
    if not best:
        raise AvlocError("the training ended without a checkpoint; does the configuration have a ModelCheckpoint?")
    print(f"best checkpoint: {best}", file=sys.stderr)
    return Path(best)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What Lightning, its parser and a loader's workers say of a wrong input, as an AvlocError of one line."""
    import jsonargparse
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except jsonargparse.ArgumentError as error:
        if "SplitData is abstract" in str(error):
            raise AvlocError(
                "the configuration's data: must name its class, as class_path: avloc.datasets.loading.data_modules.FeatureData "
                "with the settings under init_args:"
            ) from error
        raise AvlocError(f"{first_line(error)} (avloc train --help explains)") from error
    except AvlocError as error:
        text = str(error)
        if "Original Traceback" not in text:
            raise
        # From a worker of a loader, which sends its whole traceback as the message.
        raise AvlocError(text.strip().splitlines()[-1].partition(": ")[2]) from error
    except MisconfigurationException as error:
        raise AvlocError(first_line(error)) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns the one into the other
            raise KeyboardInterrupt from error
        raise


def _made(words: list[str]) -> Any:
    """`_cli`, with what a class of ours says of its arguments in place of the parser's long account of it."""
    try:
        return _cli(words)
    except ValueError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, AvlocError):
            cause = cause.__cause__
        if cause is None or cause is error:
            raise
        raise cause from error


def _cli(words: list[str]) -> Any:
    """Everything made as the configuration says, not yet run."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    from avloc.datasets.loading.data_modules import SplitData
    from avloc.training.module import LocalizationModule

    class Cli(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument("--resume", type=str, default=None, help="go on from this checkpoint")
            parser.add_argument("--overwrite", type=bool, default=False, help="forget the run that is in the folder")

        def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
            """Logs and checkpoints, the best and the last, go under the run's folder unless the configuration says other."""
            root = self._get(self.config_init, "trainer.default_root_dir") or "."
            if self._get(self.config_init, "trainer.logger") is None:
                kwargs["logger"] = [
                    CSVLogger(root, name="logs"), TensorBoardLogger(root, name="tensorboard")
                ]  # fmt: skip
            if self._get(self.config_init, "trainer.callbacks") is None:
                common: dict[str, Any] = {"every_n_epochs": 1, "enable_version_counter": False}
                kwargs["callbacks"] = [
                    ModelCheckpoint(monitor="val/ap", mode="max", save_top_k=1, filename="best", **common),
                    # What a stopped run goes on from: the last epoch, whether it was better or not.
                    ModelCheckpoint(filename="last", **common),
                ]  # fmt: skip
            trainer = super().instantiate_trainer(**kwargs)
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                    callback.dirpath = str(Path(root).resolve() / "checkpoints")
            return trainer

    cli = Cli(
        LocalizationModule, SplitData, run=False, subclass_mode_data=True, args=words, seed_everything_default=0,
        save_config_kwargs={"overwrite": True}, parser_kwargs={"exit_on_error": False},
        trainer_defaults={
            "use_distributed_sampler": False,  # the data's own sampler splits clips between processes
            "log_every_n_steps": 1, "enable_model_summary": False, "num_sanity_val_steps": 0,
        },
    )  # fmt: skip
    if (cli.trainer.max_epochs or 0) < 1 and cli.trainer.max_steps < 1:
        raise AvlocError(f"trainer.max_epochs must be at least 1, got {cli.trainer.max_epochs}")
    return cli


def _where_to_go_on(cli: Any) -> str | None:
    """The checkpoint to go on from: the one that is named, or the last one of the same run, stopped; None for a new run."""
    root = Path(cli.trainer.default_root_dir)
    settings = {k: v for k, v in cli.config.as_dict().items() if k not in ("resume", "overwrite", "config")}
    text = json.dumps(settings, indent=1, default=str, sort_keys=True)
    record, last = root / RUN_FILE, root / "checkpoints" / "last.ckpt"
    resume: str | None = cli.config.get("resume")
    if resume is None and last.is_file() and not cli.config.get("overwrite"):
        if not record.is_file() or record.read_text(encoding="utf-8") != text:
            raise AvlocError(
                f"{root}: holds a run with another configuration; go on from it with --resume {last}, forget it with "
                "--overwrite true, or name another --trainer.default_root_dir"
            )
        print(f"going on from {last}", file=sys.stderr)
        resume = str(last)
    write_text(record, text)
    return resume


def _check_resumable(path: str, model: nn.Module) -> None:
    """A CheckpointError unless a checkpoint is of such a network."""
    checkpoint = read_checkpoint(path)
    if checkpoint.model != type(model).__name__:
        raise CheckpointError(
            f"{path}: is of a {checkpoint.model}, the configuration's network is a {type(model).__name__}"
        )
    there = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    differing = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{path}: does not fit the configuration's network: {name} is {there.get(name)} there and {wanted.get(name)} here"
        )
