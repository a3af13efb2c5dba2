"""The LightningModule: optimizer, schedule, logging, validation. Loss and decoding belong to the network."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from avloc.core.clip_records import video_record
from avloc.core.descriptions import NetworkDescription, TrainingContext
from avloc.core.timeline import segment_array
from avloc.datasets.loading.split_data import DatasetWarning, SplitData
from avloc.errors import AvlocError
from avloc.evaluation.torchmetric import TemporalAveragePrecision
from avloc.models.checkpoint import KEY, check_finite, checkpoint_metadata
from avloc.models.network import check_network
from avloc.training.clip_scores import ClipScores
from avloc.training.parameter_groups import PretrainedRates, parameter_groups

if TYPE_CHECKING:
    from avloc.datasets.loading.batch import Batch

VALIDATION_IOUS = (0.5, 0.75, 0.9, 0.95)
VALIDATION_ROWS = (20,)


def one_cycle(progress: float, warmup: float) -> float:
    """The learning rate relative to its maximum: a cosine up until `warmup` of the training, then a cosine down to 0.

    Smith and Topin, "Super-convergence", 2019.

    >>> [round(one_cycle(p, 0.2), 2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / warmup)) / 2
    return (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup)))) / 2


def rate_after(step: int, *, first: int, steps: int, warmup: float) -> float:
    """The learning rate, relative to its maximum, of weights that learn from a step on: 0 before it, then a whole cycle.

    Args:
        step: of the training.
        first: their first step of learning.
        steps: of the training.
        warmup: share of the cycle with a rising rate.

    >>> [round(rate_after(step, first=4, steps=9, warmup=0.2), 2) for step in (3, 4, 5, 7, 9)]
    [0.0, 0.04, 1.0, 0.5, 0.0]
    """
    return one_cycle((step - first) / (steps - first), warmup) if step >= first else 0.0


def clips_not_finite(batch: Batch) -> list[str]:
    """The clips of a batch whose inputs are not finite numbers."""
    is_finite = torch.ones(len(batch.records), dtype=torch.bool)
    for values in batch.inputs:
        if values.is_floating_point():
            is_finite &= values.isfinite().reshape(len(values), -1).all(dim=1).cpu()
    return [record.file for record, finite in zip(batch.records, is_finite.tolist(), strict=True) if not finite]


def warn_of_shared_clips(training: Iterable[str], validation: Sequence[str]) -> None:
    """Warn if clips of the validation are training clips too, as in a set without splits.

    Args:
        training: files of the training clips.
        validation: files of the validation clips.
    """
    training_files = set(training)
    shared = [file for file in validation if file in training_files]
    if shared:
        text = (
            f"{len(shared)} of {len(validation)} validation clips are training clips too, the first is {shared[0]}: the scores "
            "and the calibration will look better than they are; give each clip a split, or name another --data.val_split"
        )
        warnings.warn(text, DatasetWarning, stacklevel=2)


class LocalizationModule(pl.LightningModule):
    """Train a network, and validate it by strict AP; a forgery of sound and picture counts once (`with_joined_segments`).

    The best scores of the validation clips give the calibration, and AUC and EER (`val/auc`, `val/eer`); their segments, if
    their records have any, the share for names. A validation clip of any length runs at once and gives at most 100 rows;
    `avloc predict` runs clips over 40 s in windows, so that their scores differ.

    Args:
        model: a network (`avloc.models.Network`).
        lr: maximum of the learning rate.
        weight_decay: weight decay of the optimizer.
        warmup: share of the steps in which the rate of a one-cycle schedule rises.
        optimizer: `adamw`, or `adam` (weight decay as a part of the gradient).
        betas: momentum coefficients of the optimizer.
        schedule: `one_cycle`; `plateau` halves the rate when the validation loss has not fallen for `patience` epochs
            (BA-TFD); `exponential` multiplies it by `decay` after every epoch (BA-TFD+).
        patience: see `schedule`.
        decay: see `schedule`.
        front_end_lr: maximum of the learning rate of a front end's pretrained layers; None: `lr`.
        layer_decay: factor of that rate from each pretrained layer to the one under it.
        frozen_epochs: epochs at the beginning in which the pretrained layers keep their weights, while the rest of the network
            gets used to them; only with `one_cycle`. Their rate then has a cycle of its own in the rest of the training. Such
            epochs cost as much as others: with several processes, all parameters must take part in every step.

    Attributes:
        context: the data that the network is trained on, as its checkpoints keep it.
        description: the network's name, the data set and the split that it is trained on, and the share for names, for its
            checkpoints.

    Raises:
        AvlocError: if an argument is out of its range, or the model lacks members of `Network`.

    >>> from avloc.models import BoundaryTransformer
    >>> LocalizationModule(BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2), lr=2e-3).lr
    0.002
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1e-3,
        weight_decay: float = 0.02,
        warmup: float = 0.15,
        optimizer: Literal["adamw", "adam"] = "adamw",
        betas: tuple[float, float] = (0.9, 0.999),
        schedule: Literal["one_cycle", "plateau", "exponential"] = "one_cycle",
        patience: int = 3,
        decay: float = 0.992,
        front_end_lr: float | None = None,
        layer_decay: float = 1.0,
        frozen_epochs: int = 0,
    ) -> None:
        super().__init__()
        if not (0 <= warmup < 1 and lr > 0 and weight_decay >= 0):
            raise AvlocError(
                f"want lr > 0, weight_decay ≥ 0 and 0 ≤ warmup < 1, got {lr:g}, {weight_decay:g}, {warmup:g}"
            )
        if optimizer not in ("adamw", "adam") or schedule not in ("one_cycle", "plateau", "exponential"):
            raise AvlocError(
                f"want optimizer of adamw, adam and schedule of one_cycle, plateau, exponential, got {optimizer!r}, {schedule!r}"
            )
        self.pretrained_rates = PretrainedRates(front_end_lr, layer_decay, frozen_epochs)
        self.pretrained_rates.check()
        if frozen_epochs and schedule != "one_cycle":
            raise AvlocError(f"frozen_epochs are for schedule one_cycle, got {schedule!r}")
        check_network(model)
        self.model: Any = model
        self.optimizer, self.betas, self.schedule = optimizer, (betas[0], betas[1]), schedule
        self.patience, self.decay = patience, decay
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self.metric = TemporalAveragePrecision(ap_ious=VALIDATION_IOUS, ar_counts=VALIDATION_ROWS)
        self.clip_scores = ClipScores()
        self._unassigned_segments = 0
        self._validates_segments = True
        self.context: TrainingContext | None = None
        self.description: NetworkDescription | None = None
        self._calibrated_step = 0  # the step of the context's calibration

    def setup(self, stage: str) -> None:
        """Check that data and network fit, and remember for the checkpoint the data it is trained on."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            text = "training without a data module of avloc.datasets: its checkpoints can resume it, but not localize"
            warnings.warn(text, stacklevel=2)
            return
        data.check_network(self.model)
        self._validates_segments = not getattr(data, "clip_labels_only", False) or data.report_segments
        self.context = data.context()
        if isinstance(data, SplitData):
            self.description = NetworkDescription(type(self.model).__name__, scope=data.scope)

    def on_train_start(self) -> None:
        """Warn if the training validates on its own clips."""
        if self.trainer.is_global_zero and isinstance(getattr(self.trainer, "datamodule", None), SplitData):
            loaders = (self.trainer.train_dataloader, self.trainer.val_dataloaders)
            tables = [getattr(getattr(loader, "dataset", None), "records", None) for loader in loaders]
            training, validation = (getattr(table, "files", ()) for table in tables)
            warn_of_shared_clips(training, validation)

    def on_train_epoch_start(self) -> None:
        """Derive the order of the clips from the epoch's number, so that a resumed run continues it."""
        sampler = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        if sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed each step (dropout) from the run's seed and its number: a resumed run equals an uninterrupted one."""
        seed = [int(os.environ.get("PL_GLOBAL_SEED", "0")), self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        if batch.targets is None:
            raise AvlocError("training needs labels, and the labels of this split are hidden")
        terms: dict[str, Tensor] = self.model.loss(self.model(**batch.inputs._asdict()), batch.targets)
        self._check_finite("loss", terms, batch)
        self._unassigned_segments += batch.unassigned_segments
        for name, value in terms.items():
            self.log(
                f"train/{name}",
                value,
                prog_bar=name == "loss",
                on_step=False,
                on_epoch=True,
                batch_size=len(batch.grids),
                sync_dist=True,
            )
        return terms["loss"]

    def _check_finite(self, name: str, terms: Mapping[str, Tensor], batch: Batch) -> None:
        """Stop at the first loss that is no finite number: every weight would become NaN, and so would the checkpoints.

        Raises:
            AvlocError: with the step, the learning rate, and the clips whose features are the cause.
        """
        if bool(terms["loss"].isfinite().all()):
            return
        parts = ", ".join(f"{term} {value.item():g}" for term, value in terms.items() if not value.isfinite().all())
        rate = self.trainer.optimizers[0].param_groups[0]["lr"] if self.trainer.optimizers else self.lr
        clips = clips_not_finite(batch)
        cure = (
            f"the features of {', '.join(clips[:3])} are not finite numbers: verify the store"
            if clips
            else "try a smaller --model.lr, or --trainer.gradient_clip_val 1"
        )
        raise AvlocError(
            f"the {name} is no finite number at step {self.trainer.global_step} (epoch {self.current_epoch}, learning rate "
            f"{rate:.3g}): {parts}; {cure}"
        )

    def on_train_epoch_end(self) -> None:
        """Log the number of segments that the head could not carry: they are lost to training."""
        self.log("train/unassigned_segments", float(self._unassigned_segments), sync_dist=True, reduce_fx="sum")
        self._unassigned_segments = 0

    def validation_step(self, batch: Batch, _: int) -> None:
        output = self.model(**batch.inputs._asdict())
        if batch.targets is not None:
            terms: dict[str, Tensor] = self.model.loss(output, batch.targets)
            self._check_finite("validation loss", terms, batch)
            self.log("val/loss", terms["loss"], batch_size=len(batch.grids), sync_dist=True)
        decoded = self.model.decode(output, batch.grids)
        if self._validates_segments:
            self.metric.update(
                [(proposals.scores, proposals.segments) for proposals in decoded],
                [segment_array(video_record(record).with_joined_segments().segments) for record in batch.records],
            )
        for proposals, record in zip(decoded, batch.records, strict=True):
            self.clip_scores.update(proposals, record)

    def on_validation_epoch_end(self) -> None:
        calibration, auc, eer, modality_share = self.clip_scores.compute()
        if self.context is not None:
            self.context = replace(self.context, calibration=calibration)
            self._calibrated_step = self.trainer.global_step
        if self.description is not None:
            self.description = replace(self.description, modality_share=modality_share)
        self.clip_scores.reset()
        if not math.isnan(auc):  # equal on all ranks
            self.log("val/auc", auc, prog_bar=not self._validates_segments, sync_dist=True)
            self.log("val/eer", eer, sync_dist=True)
        if not self._validates_segments:
            return
        for name, value in self.metric.compute().items():
            self.log(f"val/{name}", value, prog_bar=name == "ap", sync_dist=True)  # equal on all ranks
        self.metric.reset()

    def configure_optimizers(self) -> Any:
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        groups = parameter_groups(self.model, self.lr, self.pretrained_rates)
        optimizer = kind(groups, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)
        if self.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=self.patience)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}
        if self.schedule == "exponential":
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay)]
        steps = self._steps()
        frozen_steps = self._frozen_steps(steps)
        # Functions of the step alone, so that a resumed run may get more epochs than it began with.
        rates: list[Callable[[int], float]] = [
            partial(rate_after, first=frozen_steps if group["pretrained"] else 0, steps=steps, warmup=self.warmup)
            for group in groups
        ]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _steps(self) -> int:
        """The optimizer's steps in the whole training.

        Raises:
            AvlocError: if the training has no end: the schedule needs one.
        """
        steps = float(self.trainer.estimated_stepping_batches)
        if not math.isfinite(steps) or steps < 0:
            raise AvlocError(
                "schedule one_cycle needs the end of the training: give trainer.max_epochs or trainer.max_steps"
            )
        return max(1, int(steps))

    def _frozen_steps(self, steps: int) -> int:
        """The optimizer's steps in the frozen epochs.

        Raises:
            AvlocError: if they leave the pretrained layers no step to learn.
        """
        epochs = self.pretrained_rates.frozen_epochs
        if not epochs:
            return 0
        batches = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        frozen = epochs * math.ceil(batches) if math.isfinite(batches) else math.inf
        if frozen >= steps:
            raise AvlocError(
                f"frozen_epochs {epochs} are {frozen} steps, and the training has {steps}: the pretrained layers would never "
                "learn; train for more epochs, or leave front_end_lr, layer_decay and frozen_epochs out with tuning frozen"
            )
        return int(frozen)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the network's name and arguments and the data's context, so that the checkpoint runs on a clip alone.

        The calibration and the share for names are of the weights of the last validation: a checkpoint of later weights is
        written without them.

        Raises:
            CheckpointError: if the weights are not finite numbers, which no checkpoint keeps.
        """
        weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
        check_finite(self.model, weights, f"after step {self.trainer.global_step} (no checkpoint is written)")
        context, description = self.context, self.description
        if context is not None:
            if self.trainer.global_step != self._calibrated_step:
                context = replace(context, calibration={})
                description = description and replace(description, modality_share=None)
            checkpoint[KEY] = checkpoint_metadata(self.model, context, checkpoint["state_dict"], description)
