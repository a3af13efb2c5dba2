from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models import BoundaryTransformer
from avloc.training.module import LocalizationModule


def module(**arguments):
    training = LocalizationModule(BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2), **arguments)
    training._trainer = SimpleNamespace(estimated_stepping_batches=10)
    return training


def test_published_recipes():
    """BA-TFD: Adam, halved on a plateau; BA-TFD+: multiplied by .992 an epoch."""
    configured = module(optimizer="adam", betas=(0.5, 0.9), schedule="plateau").configure_optimizers()
    assert type(configured["optimizer"]) is torch.optim.Adam
    assert configured["optimizer"].defaults["betas"] == (0.5, 0.9)
    plateau = configured["lr_scheduler"]["scheduler"]
    for _ in range(5):
        plateau.step(1.0)
    assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(5e-4)
    assert configured["lr_scheduler"]["monitor"] == "val/loss"
    (optimizer,), (schedule,) = module(optimizer="adam", schedule="exponential").configure_optimizers()
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.992e-3)
    assert type(module().configure_optimizers()["optimizer"]) is torch.optim.AdamW


def test_wrong_recipes_are_refused():
    with pytest.raises(AvlocError, match="got 'sgd', 'one_cycle'"):
        module(optimizer="sgd")
    with pytest.raises(AvlocError, match="want lr > 0"):
        module(lr=0.0)
