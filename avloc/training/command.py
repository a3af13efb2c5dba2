"""A configuration > trainer, module and data > a training run that can be resumed: LightningCLI, made quiet and strict."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import re
import shlex
import shutil
import signal
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonargparse
import pytorch_lightning as pl
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from avloc.datasets.loading.shared_memory import has_shared_memory, no_shared_memory
from avloc.datasets.loading.split_data import SplitData
from avloc.datasets.readers.catalog import get_reader
from avloc.errors import AvlocError, CheckpointError, one_line
from avloc.io.files import no_room_error, remove_stale, write_text
from avloc.models.checkpoint import read_checkpoint
from avloc.training.checkpoint_io import WholeCheckpointIO
from avloc.training.module import LocalizationModule
from avloc.training.option_errors import describe_option_error
from avloc.training.progress import RunBar, RunReport

if TYPE_CHECKING:
    from torch import nn

RUN_FILE = "run.json"
RUN_CONTENT = (RUN_FILE, "logs", "tensorboard", "checkpoints")  # of a run's folder
RUN_RESULTS = ("checkpoints/*.ckpt", "logs/version_*", "tensorboard/version_*")  # that --overwrite discards
LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.fabric")
IGNORED_WARNINGS = (
    (".*(exists and is not empty|already exists).*", Warning),  # a second run in a folder is intended
    # Loading in the training process is right for features in a local store; Lightning always suggests workers.
    (".*does not have many workers.*", Warning),
    (".*LightningCLI's args parameter is intended.*", Warning),
    (".*(isinstance|LeafSpec).*", FutureWarning),
    ("", DeprecationWarning),
)


def train(arguments: Sequence[str]) -> Path:
    """Train by a configuration, validate, keep the best checkpoint, and return its path.

    Args:
        arguments: those of LightningCLI: `--config FILE`, `--data.root R`, …

    Raises:
        AvlocError: if the configuration is wrong, or the data does not fit it.
    """
    for name in LOGGERS:  # hints about other products
        logging.getLogger(name).setLevel(logging.WARNING)
    interrupt = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        for message, category in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category)
        try:
            with _one_line_errors(arguments):
                cli = _instantiate(list(arguments))
                with without_traces(Path(cli.trainer.default_root_dir)):
                    resume = _checkpoint_to_resume(cli)
                    if resume is not None:
                        _check_fits(resume, cli.model.model)
                    elif cli.config.get("init") is not None:
                        _load_weights(cli.config["init"], cli.model.model)
                    _claim_folder(cli)
                    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume, weights_only=True)
        finally:
            signal.signal(signal.SIGINT, interrupt)  # which Lightning switches off
    best = getattr(cli.trainer.checkpoint_callback, "best_model_path", "")
    if not best:
        raise AvlocError("the training ended without a checkpoint; does the configuration have a ModelCheckpoint?")
    if cli.trainer.is_global_zero:
        print(_describe_end(cli, best), flush=True)
    return Path(best)


def _describe_end(cli: Any, best: str) -> str:
    """Describe the best checkpoint, with its score, and the command that predicts with it."""
    callback, data = cli.trainer.checkpoint_callback, cli.datamodule
    score = getattr(callback, "best_model_score", None)
    text = f"best checkpoint: {best}"
    if score is not None:
        text += f" ({callback.monitor} {float(score):.3f})"
    words = ["avloc", "predict", "--checkpoint", best, "--dataset", str(data.dataset), "--root", str(data.root)]
    store = None if getattr(data, "from_clips", False) else getattr(data, "store", None)
    words += [] if store is None else ["--store", str(getattr(store, "root", store))]
    network = type(cli.model.model)
    if not network.__module__.startswith("avloc."):
        words += ["--network", f"{network.__module__}.{network.__qualname__}"]
    split = "test" if "test" in get_reader(data.dataset).splits else data.val_split
    return f"{text}\nnext: {shlex.join([*words, '--split', split, '--out', 'predictions.json'])}"


@contextlib.contextmanager
def without_traces(root: Path) -> Iterator[None]:
    """Remove a run's files from its folder if it fails within this block before it has a checkpoint or a log of metrics."""
    before = {path: path.exists() for path in (*(root / name for name in RUN_CONTENT), root)}
    try:
        yield
    except Exception as error:
        if not any(root.glob("checkpoints/*.ckpt")) and not any(root.glob("logs/*/metrics.csv")):
            for path in (path for path, existed in before.items() if not existed and path.exists()):
                with contextlib.suppress(OSError):
                    if path == root:
                        path.rmdir()  # only if nothing else is in it
                    elif path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
        if isinstance(error, OSError) and error.filename is None and has_shared_memory():  # a log's
            raise no_room_error(error, root / "logs") from error
        raise


def place_of_option(words: Sequence[str], message: str) -> str:
    """The configurations, as a beginning of an error message; empty if it is about an option on the command line.

    >>> place_of_option(["--config", "my.yaml", "--data.root", "R"], 'Parser key "model.lr": Expected a float')
    'my.yaml: '
    >>> place_of_option(["--config", "my.yaml", "--model.lr=fast"], 'Parser key "model.lr": Expected a float')
    ''
    """
    names = [word.partition("=")[0].lstrip("-") for word in words if word.startswith("--")]
    keys = re.findall(r"(?:[Kk]ey|[Oo]ption|arguments:) ['\"]?-*([\w.]+)", message)
    if any(name == key or name.endswith(f".{key}") for name in names for key in keys):
        return ""
    configs = [value for word, value in itertools.pairwise(words) if word == "--config"]
    configs += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    return f"{', '.join(configs)}: " if configs else ""


@contextlib.contextmanager
def _one_line_errors(words: Sequence[str]) -> Iterator[None]:
    """Turn the errors of Lightning, its parser and a loader's workers about wrong inputs into an AvlocError of one line."""
    try:
        yield
    except jsonargparse.ArgumentError as error:
        if "SplitData is abstract" in str(error):
            raise AvlocError(
                "the configuration's data: must name its class, as class_path: avloc.datasets.FeatureData with the settings "
                "under init_args:"
            ) from error
        place = place_of_option(words, str(error))
        raise AvlocError(f"{place}{describe_option_error(str(error))} (see avloc train --help-all)") from error
    except AvlocError as error:
        text = str(error)
        if "Original Traceback" not in text:
            raise
        # From a loader's worker, which sends its whole traceback as the message.
        raise AvlocError(text.strip().splitlines()[-1].partition(": ")[2]) from error
    except MisconfigurationException as error:
        hint = "; --trainer.accelerator cpu works everywhere" if "backend found" in str(error) else ""
        raise AvlocError(f"{one_line(error)}{hint}") from error
    except (RuntimeError, OSError) as error:
        raise _loading_error(error) or error from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns the one into the other
            raise KeyboardInterrupt from error
        raise


def _loading_error(error: BaseException) -> AvlocError | None:
    """The error of a loader's worker, or of the memory that it shares; None for another error.

    Lightning, while it ends, may raise further errors on top of it.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AvlocError):
            return cause
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC and not has_shared_memory():
            return no_shared_memory()  # for a queue's semaphores
        if isinstance(cause, RuntimeError) and "DataLoader worker" in str(cause):
            return AvlocError(
                f"{one_line(cause)}: a process that loads batches died, perhaps because memory or shared memory (/dev/shm) ran "
                "out; fewer workers need less"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _instantiate(words: list[str]) -> Any:
    """Make everything that the configuration names; an AvlocError of a class of ours replaces the parser's long report."""
    try:
        return _cli(words)
    except ValueError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, AvlocError):
            cause = cause.__cause__
        if cause is None or cause is error:
            raise
        raise cause from error


class _Cli(LightningCLI):
    """LightningCLI with three options of our own; logs and checkpoints go under the run's folder by default."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--init", type=str, default=None, help="start from the weights of this checkpoint")
        parser.add_argument("--resume", type=str, default=None, help="resume from this checkpoint")
        parser.add_argument("--overwrite", type=bool, default=False, help="discard the run that the folder holds")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Add loggers and the best and the last checkpoint, unless the configuration has its own."""
        root = self._get(self.config_init, "trainer.default_root_dir") or "."
        root = Path(root).expanduser()
        if self._get(self.config_init, "trainer.logger") is None:
            kwargs["logger"] = [CSVLogger(root, name="logs"), TensorBoardLogger(root, name="tensorboard")]
        if self._get(self.config_init, "trainer.callbacks") is None:
            # Segments must not choose the weights of a training without segments.
            is_weak = getattr(self._get(self.config_init, "data"), "clip_labels_only", False)
            kwargs["callbacks"] = [
                ModelCheckpoint(
                    filename="best",
                    monitor="val/auc" if is_weak else "val/ap",
                    mode="max",
                    save_top_k=1,
                    every_n_epochs=1,
                    enable_version_counter=False,
                ),
                # The last epoch, better or not: a stopped run resumes from it.
                ModelCheckpoint(filename="last", every_n_epochs=1, enable_version_counter=False),
            ]
        configured = kwargs.get("callbacks") or self._get(self.config_init, "trainer.callbacks") or []
        kwargs["callbacks"] = [*(configured if isinstance(configured, list | tuple) else [configured]), RunReport()]
        has_bar = any(isinstance(callback, ProgressBar) for callback in kwargs["callbacks"])
        if self._get(self.config_init, "trainer.enable_progress_bar") is not False and not has_bar:
            kwargs["callbacks"].append(RunBar())
        kwargs["default_root_dir"] = str(root)
        plugins = self._get(self.config_init, "trainer.plugins") or []
        plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, WholeCheckpointIO()]
        trainer = super().instantiate_trainer(**kwargs)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(root.resolve() / "checkpoints")
        return trainer


def _cli(words: list[str]) -> Any:
    """Make trainer, module and data as the configuration says; nothing runs yet."""
    cli = _Cli(
        LocalizationModule,
        SplitData,
        run=False,
        subclass_mode_data=True,
        args=words,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
        trainer_defaults={
            "use_distributed_sampler": False,  # the data's own sampler splits clips between processes
            "log_every_n_steps": 1,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        },
    )
    if (cli.trainer.max_epochs or 0) < 1 and cli.trainer.max_steps < 1:
        raise AvlocError(f"trainer.max_epochs must be at least 1, got {cli.trainer.max_epochs}")
    return cli


def _checkpoint_to_resume(cli: Any) -> str | None:
    """The checkpoint to resume from: the one given, or the last one of the same run, stopped; None for a new run."""
    root = Path(cli.trainer.default_root_dir)
    record, last = root / RUN_FILE, root / "checkpoints" / "last.ckpt"
    remove_stale(last.parent)  # a checkpoint that a killed run was writing
    resume: str | None = cli.config.get("resume")
    resume = None if resume is None else str(Path(resume).expanduser())
    if resume is None and last.is_file() and not cli.config.get("overwrite"):
        if not record.is_file() or record.read_text(encoding="utf-8") != _run_record(cli):
            raise AvlocError(
                f"{root}: holds a run with another configuration; resume it with --resume {last}, discard it with "
                "--overwrite true, or name another --trainer.default_root_dir"
            )
        print(f"resuming from {last}")
        resume = str(last)
    return resume


def _run_record(cli: Any) -> str:
    """The configuration by which a run is recognized, as the text of `RUN_FILE`."""
    settings = {k: v for k, v in cli.config.as_dict().items() if k not in ("resume", "overwrite", "config")}
    if settings.get("init") is None:
        settings.pop("init", None)  # runs of earlier versions do not have it
    return json.dumps(settings, indent=1, default=str, sort_keys=True)


def _claim_folder(cli: Any) -> None:
    """Write the record of the run into its folder; with `--overwrite`, first discard the run that the folder holds.

    Raises:
        AvlocError: if the new run starts from a checkpoint of the discarded one.
    """
    root = Path(cli.trainer.default_root_dir)
    if cli.config.get("overwrite"):
        discarded = [path for pattern in RUN_RESULTS for path in root.glob(pattern)]
        for option in ("init", "resume"):
            start = cli.config.get(option)
            if start is not None and Path(start).expanduser().resolve() in [path.resolve() for path in discarded]:
                raise AvlocError(
                    f"{start}: --{option} names a checkpoint that --overwrite true discards; move it out of {root}, or name "
                    "another --trainer.default_root_dir"
                )
        for path in discarded:
            with contextlib.suppress(FileNotFoundError):  # another process of the run was faster
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    write_text(root / RUN_FILE, _run_record(cli))


def _load_weights(path: str, model: nn.Module) -> None:
    """Start a network from the weights of a checkpoint.

    Raises:
        CheckpointError: if it does not fit.
    """
    _check_fits(path, model)
    model.load_state_dict(read_checkpoint(path).weights)
    print(f"weights of {path}")


def _check_fits(path: str, model: nn.Module) -> None:
    """Check that a checkpoint fits a network.

    Raises:
        CheckpointError: if it is of another network, or its tensors have other shapes.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.model != type(model).__name__:
        raise CheckpointError(
            f"{path}: is of a {checkpoint.model}, the configuration's network is a {type(model).__name__}"
        )
    saved = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    differing = sorted(name for name in {*saved, *expected} if saved.get(name) != expected.get(name))
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{path}: does not fit the configuration's network: {name} is {saved.get(name)} there and {expected.get(name)} here"
        )
