from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from avloc.models import BoundaryTransformer


@pytest.fixture
def module():
    from comparing.budgets import Budget, BudgetedModule

    budget = Budget("x", "x", 30, patience=2, cooldown=4)
    module = BudgetedModule(BoundaryTransformer(audio_dim=7, visual_dim=5, width=8, heads=2), budget, 1e-3)
    module.epoch_steps = 10
    return module


def test_both_budgets_cool_down_within_their_epochs():
    from comparing.budgets import BUDGETS

    assert [*BUDGETS] == ["short", "long"]
    assert (BUDGETS["short"].epochs, BUDGETS["short"].patience) == (6, 0)
    long = BUDGETS["long"]
    assert 0 < long.patience < long.epochs - long.cooldown


def test_the_rate_rises_in_the_first_epoch_and_stays(module):
    rates = [module.relative_rate(step) for step in range(50)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:] == [1.0] * 41
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))


def test_the_rate_falls_to_0_over_the_cooldown(module):
    module.decay_from = 50
    rates = [module.relative_rate(step) for step in (49, 50, 70, 90, 99)]
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0], abs=0.03)


def follow(module, curve):
    """Judge epochs of a validation curve, until the training ends: its number of epochs."""
    from comparing.budgets import StopWhenFlat

    callback = StopWhenFlat(module.budget)
    trainer = SimpleNamespace(sanity_checking=False, should_stop=False)
    for epoch, ap in enumerate(curve):
        trainer.current_epoch, trainer.global_step = epoch, 10 * (epoch + 1)
        trainer.callback_metrics = {"val/ap": torch.tensor(ap)}
        callback.on_validation_end(trainer, module)
        if trainer.should_stop:
            return epoch + 1
    return len(curve)


def test_training_cools_down_once_validation_is_flat(module):
    # The best is epoch 2; after two more without a rise the rate falls for four epochs, whatever these bring.
    assert follow(module, [0.1, 0.2, 0.3, 0.3, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]) == 9
    assert module.decay_from == 50


def test_training_that_still_rises_cools_down_before_the_last_epoch(module):
    assert follow(module, [0.01 * k for k in range(40)]) == 30
    assert module.decay_from == 260


def test_a_sanity_check_does_not_count(module):
    from comparing.budgets import StopWhenFlat

    callback = StopWhenFlat(module.budget)
    callback.on_validation_end(SimpleNamespace(sanity_checking=True), module)
    assert (callback.best, module.decay_from) == (-1.0, None)


def test_the_short_budget_keeps_the_one_cycle_schedule(module):
    from comparing.budgets import BUDGETS, BudgetedModule

    short = BudgetedModule(module.model, BUDGETS["short"], 1e-3)
    short.trainer = trainer = SimpleNamespace(estimated_stepping_batches=100, num_training_batches=25)
    one_cycle = short.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert (one_cycle(15), one_cycle(100)) == (1.0, 0.0)
    module._trainer = module.trainer = trainer
    flat = module.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert flat(100) == 1.0
    assert module.epoch_steps == 25
