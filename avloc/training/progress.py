"""A training run in the terminal: its size before the first step, one bar for all epochs, and one line per epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from avloc.core.clip_records import Record
from avloc.core.records import VideoRecord
from avloc.datasets.inspect.overview import forgeries
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import as_table

if TYPE_CHECKING:
    from tqdm import tqdm

BAR_FORMAT = "{desc}: {percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt} steps [{elapsed}, {remaining} left]{postfix}"
FIRST_METRICS = ("train/loss", "val/loss", "val/ap", "val/auc")


class RunReport(pl.Callback):
    """Print a summary of a run before it begins, and the metrics of each epoch on one line."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the network, the device, the clips and the features."""
        if trainer.is_global_zero:
            say("\n".join(run_summary(trainer, pl_module)))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's metrics."""
        if trainer.is_global_zero:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            say(metrics_line(trainer.current_epoch + 1, trainer.max_epochs, values))


class RunBar(ProgressBar):
    """One progress bar for the steps of all epochs, with the time left; hidden if the output is no terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm[Any] | None = None
        self._is_enabled = True

    def disable(self) -> None:
        """Draw nothing, as processes beside the first one do."""
        self._is_enabled = False

    def enable(self) -> None:
        """Draw the bar."""
        self._is_enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar, at the step of a resumed run."""
        from tqdm import tqdm

        if self._is_enabled:
            total = steps_of_run(trainer)
            self._bar = tqdm(
                total=total, initial=trainer.global_step, desc="train", bar_format=BAR_FORMAT, disable=None, leave=False
            )

    def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
        """Move the bar on by a batch."""
        super().on_train_batch_end(*arguments, **named)
        if self._bar is not None:
            self._bar.update(self.trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End the bar, so that the message has its own line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def say(text: str) -> None:
    """Print lines, above a bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def steps_of_run(trainer: pl.Trainer) -> int | None:
    """Return the steps of all epochs; None without a limit of epochs or steps."""
    steps = float(trainer.estimated_stepping_batches)
    return int(steps) if math.isfinite(steps) else None


def run_summary(trainer: pl.Trainer, module: pl.LightningModule) -> list[str]:
    """Describe a run in lines: network, device and epochs; clips and segments of each split; features."""
    network: Any = module.model
    parameters = sum(value.numel() for value in network.parameters() if value.requires_grad)
    lines = [
        f"network: {type(network).__name__}, {parameters:,} parameters, on {trainer.strategy.root_device}",
        f"epochs: {trainer.current_epoch} to {trainer.max_epochs}, {trainer.num_training_batches} batches each"
        if trainer.current_epoch
        else f"epochs: {trainer.max_epochs}, {trainer.num_training_batches} batches each",
    ]
    for name, loader in (("training", trainer.train_dataloader), ("validation", trainer.val_dataloaders)):
        records = getattr(getattr(loader, "dataset", None), "records", None)
        if records is not None:
            lines.append(f"{name}: {describe_records(records)}")
    context: Any = getattr(module, "context", None)
    if context is not None:
        features = ", ".join(f"{each.name} ({each.modality}, {each.dim} numbers)" for each in context.extractors)
        lines.append(f"features: {features}" if features else "features: none, the network takes the clips themselves")
    return lines


def describe_records(records: Sequence[Record]) -> str:
    """Count the clips of a split, and their fake segments, or the fake clips if the records have no segments.

    >>> describe_records(ClipRecordTable.from_records([VideoRecord("a.mp4", "train")]))
    '1 clips, 0 fake, clip labels only'
    """
    if isinstance(records, ClipRecordTable):
        return f"{len(records):,} clips, {int(records.is_fake().sum()):,} fake, clip labels only"
    return f"{len(records):,} clips, {len(forgeries(as_table(cast(Sequence[VideoRecord], records)))):,} fake segments"


def metrics_line(epoch: int, epochs: int | None, values: Mapping[str, float]) -> str:
    """Format an epoch's metrics on one line.

    >>> metrics_line(3, 18, {"train/loss": 0.41, "val/ar@20": 0.5, "val/ap": 0.25, "train/fakeness": 0.1})
    'epoch 3/18: train/loss 0.410, val/ap 0.250, val/ar@20 0.500'
    """
    names = [name for name in FIRST_METRICS if name in values]
    names += [name for name in values if name.startswith("val/") and name not in names]
    text = ", ".join(f"{name} {values[name]:.3f}" for name in names)
    return f"epoch {epoch}/{epochs}: {text}" if epochs and epochs > 0 else f"epoch {epoch}: {text}"
