from __future__ import annotations

import pytest
import torch

from avloc.losses import diou, focal, masked_mean


def test_diou_by_hand():
    same = torch.tensor([1.0, 3.0])
    assert diou(same, same).item() == pytest.approx(0)
    # [-1, 1] and [-1, 3] around 0: IoU 2/4, middles 0 and 1, hull 4.
    assert diou(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0])).item() == pytest.approx(1 - 0.5 + (1 / 4) ** 2)
    assert torch.isfinite(diou(torch.zeros(2), torch.zeros(2)))


def test_focal_is_weighted_cross_entropy_for_gamma_zero():
    logits, targets = torch.tensor([0.3, -1.2]), torch.tensor([1.0, 0.0])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(focal(logits, targets, alpha=0.5, gamma=0), plain / 2)
    assert focal(torch.tensor(8.0), torch.tensor(1.0)) < 1e-6


def test_masked_mean():
    values = torch.tensor([[[1.0, 3.0], [100.0, 100.0]]])
    assert masked_mean(values, torch.tensor([[True, False]])).item() == 2
    assert masked_mean(values, torch.tensor([[False, False]])).item() == 0
