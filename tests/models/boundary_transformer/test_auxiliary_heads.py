from __future__ import annotations

import math

import pytest
import torch

from avloc.heads.auxiliary import PARTS
from avloc.models.boundary_transformer.auxiliary_heads import AuxiliaryHead, auxiliary_losses

B, T, C = 2, 7, 3


def test_frames_are_means_of_the_steps_that_are_present():
    head = AuxiliaryHead(width=1, coarse_levels=2, parts=False)
    for linear in head.coarse:
        torch.nn.init.ones_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    x = torch.tensor([[1.0, 3.0, 5.0, 100.0, 7.0]]).view(1, 5, 1)
    mask = torch.tensor([[True, True, True, False, True]])
    logits = head(x, mask)
    assert logits[0, :, 0].tolist() == [2.0, 2.0, 5.0, 5.0, 7.0]
    assert logits[0, :, 1].tolist() == [3.0, 3.0, 3.0, 3.0, 7.0]


def test_no_heads_are_no_logits_and_no_losses():
    head = AuxiliaryHead(width=C, coarse_levels=0, parts=False)
    assert not [*head.parameters()]
    logits = head(torch.zeros(B, T, C), torch.ones(B, T, dtype=torch.bool))
    assert logits.shape == (B, T, 0)
    mask = torch.ones(B, T, 2, dtype=torch.bool)
    assert auxiliary_losses(torch.stack([logits, logits], 2), torch.zeros(B, T, 2), mask, 0) == {}


@pytest.mark.parametrize(("coarse_levels", "parts"), [(3, False), (0, True), (2, True)])
def test_logits_of_zero_cost_their_entropy(coarse_levels, parts):
    count = coarse_levels + (len(PARTS) if parts else 0)
    labels = torch.zeros(B, T, 2)
    labels[0, 2:5, 1] = 1.0
    terms = auxiliary_losses(torch.zeros(B, T, 2, count), labels, torch.ones(B, T, 2, dtype=torch.bool), coarse_levels)
    expected = ({"coarse": math.log(2)} if coarse_levels else {}) | ({"part": math.log(len(PARTS))} if parts else {})
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_masked_steps_cost_nothing():
    labels, mask = torch.zeros(B, T, 2), torch.ones(B, T, 2, dtype=torch.bool)
    mask[1, 4:] = False
    logits = torch.randn(B, T, 2, 1 + len(PARTS))
    terms = auxiliary_losses(logits, labels, mask, 1)
    logits[1, 4:] += 5
    again = auxiliary_losses(logits, labels, mask, 1)
    assert {name: term.item() for name, term in terms.items()} == {name: term.item() for name, term in again.items()}


def test_right_logits_cost_nothing():
    labels = torch.zeros(1, T, 2)
    labels[0, 2:5, 0] = 1.0  # frames of two steps: 2–3, and 4–5
    frames = torch.tensor([0, 0, 1, 1, 1, 1, 0.0])
    parts = torch.tensor([0, 0, 1, 2, 3, 0, 0])
    logits = torch.full((1, T, 2, 1 + len(PARTS)), -40.0)
    logits[0, :, 0, 0] = 80 * frames - 40
    logits[0, :, 0, 1:].scatter_(1, parts[:, None], 40.0)
    logits[0, :, 1, 1] = 40.0
    terms = auxiliary_losses(logits, labels, torch.ones(1, T, 2, dtype=torch.bool), 1)
    assert terms["coarse"].item() < 1e-6
    assert terms["part"].item() < 1e-6
