from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from avloc.errors import AvlocError
from avloc.training.module import LocalizationModule


def module(**arguments):
    made = LocalizationModule(torch.nn.Linear(2, 2), **arguments)
    made._trainer = SimpleNamespace(estimated_stepping_batches=10)
    return made


def test_the_published_recipes():
    """BA-TFD: Adam, halved on a plateau; BA-TFD+: multiplied by .992 an epoch."""
    found = module(optimizer="adam", betas=(0.5, 0.9), schedule="plateau").configure_optimizers()
    assert type(found["optimizer"]) is torch.optim.Adam
    assert found["optimizer"].defaults["betas"] == (0.5, 0.9)
    plateau = found["lr_scheduler"]["scheduler"]
    for _ in range(5):
        plateau.step(1.0)
    assert found["optimizer"].param_groups[0]["lr"] == pytest.approx(5e-4)
    assert found["lr_scheduler"]["monitor"] == "val/loss"
    (optimizer,), (schedule,) = module(optimizer="adam", schedule="exponential").configure_optimizers()
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.992e-3)
    assert type(module().configure_optimizers()["optimizer"]) is torch.optim.AdamW


def test_wrong_recipes():
    with pytest.raises(AvlocError, match="got 'sgd', 'one_cycle'"):
        module(optimizer="sgd")
    with pytest.raises(AvlocError, match="want lr > 0"):
        module(lr=0.0)
