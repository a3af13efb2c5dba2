"""The two budgets of a training, the same for every system: six epochs, or until validation stops rising.

The long one trains at a constant rate until the validation AP has not risen for some epochs, then lowers the rate to 0 over a few
more and ends (warm-up, stable, decay: Hu et al., "MiniCPM", 2024). A cosine over a fixed number of epochs would still be at a
high rate when the training is stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from avloc.training.module import LocalizationModule


@dataclass(frozen=True, slots=True)
class Budget:
    """The length of a training.

    Attributes:
        name: on the command line and in the tables.
        title: in words.
        epochs: the most passes over the training split.
        patience: epochs without a rise of the validation AP that end the constant rate; 0: a one-cycle schedule over all epochs.
        cooldown: last epochs, in which the rate falls to 0.
    """

    name: str
    title: str
    epochs: int
    patience: int = 0
    cooldown: int = 0


BUDGETS = {
    "short": Budget("short", "6 epochs", 6),
    "long": Budget("long", "until validation stops rising (patience 4, at most 20 epochs)", 20, patience=4, cooldown=4),
}


class BudgetedModule(LocalizationModule):
    """A `LocalizationModule` whose learning rate follows a budget.

    Args:
        model: a network.
        budget: of the training.
        lr: maximum of the learning rate.
        monitor: the metric of the validation that chooses the weights.
        front_end_lr: maximum of the rate of a front end's pretrained layers; None: `lr`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        budget: Budget,
        lr: float,
        monitor: str = "val/ap",
        front_end_lr: float | None = None,
    ) -> None:
        super().__init__(model, lr=lr, front_end_lr=front_end_lr)
        self.budget, self.monitor = budget, monitor
        self.decay_from: int | None = None
        """The step from which the rate falls; None while it is constant."""
        self.epoch_steps = 1

    def configure_optimizers(self) -> Any:
        """Return the optimizer with the budget's schedule."""
        settings = super().configure_optimizers()
        if not self.budget.patience:
            return settings
        self.epoch_steps = max(1, int(self.trainer.num_training_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(settings["optimizer"], self.relative_rate)
        return {"optimizer": settings["optimizer"], "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def relative_rate(self, step: int) -> float:
        """Return the rate of a step relative to its maximum: up in the first epoch, constant, then down to 0."""
        rising = min(1.0, (step + 1) / self.epoch_steps)
        if self.decay_from is None:
            return rising
        return rising * max(0.0, 1 - (step - self.decay_from) / (self.budget.cooldown * self.epoch_steps))


class StopWhenFlat(pl.Callback):
    """End the constant rate when the module's `monitor` has stopped rising, and the training when the rate is 0.

    Args:
        budget: with a patience.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.best, self.best_epoch = -1.0, 0
        self.decay_epoch: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Judge the epoch that ends."""
        if trainer.sanity_checking:
            return
        assert isinstance(module, BudgetedModule)
        epoch, value = trainer.current_epoch, float(trainer.callback_metrics[module.monitor])
        if value > self.best:
            self.best, self.best_epoch = value, epoch
        if self.decay_epoch is not None:
            trainer.should_stop = epoch >= self.decay_epoch + self.budget.cooldown
            return
        is_flat = epoch - self.best_epoch >= self.budget.patience
        if is_flat or epoch + 1 + self.budget.cooldown >= self.budget.epochs:
            self.decay_epoch, module.decay_from = epoch, trainer.global_step
