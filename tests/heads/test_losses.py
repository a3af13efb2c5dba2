from __future__ import annotations

import pytest
import torch

from avloc.heads.losses import (
    clip_mean,
    diou,
    distribution_focal,
    focal,
    interval_overlap,
    map_error,
    masked_mean,
    modality_contrast,
    varifocal,
)


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


def test_clip_mean_weights_clips_equally():
    values = torch.tensor([[[1.0, 3.0, 100.0]], [[4.0, 5.0, 6.0]]])  # B, 1, T
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert clip_mean(values, mask).item() == pytest.approx((2 + 5) / 2)
    assert clip_mean(values[:, 0], mask).item() == pytest.approx((2 + 5) / 2)
    assert clip_mean(values, torch.zeros(2, 3, dtype=torch.bool)).item() == 0
    assert map_error(values, values + 2, mask).item() == pytest.approx(4)


def test_modality_contrast_by_hand():
    audio, video = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    audio[:, 0, 0] = torch.tensor([3.0, 0.5, 0.0])
    audio[:, 1, 1] = 7.0  # past the clips' ends
    mask = torch.tensor([[True, False]] * 3)
    is_fake = torch.tensor([0.0, 1.0, 1.0])
    expected = (9 + 0.49**2 + 0.99**2) / 3
    audio.requires_grad_()
    loss = modality_contrast(audio, video, is_fake, mask, 0.99)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert torch.isfinite(audio.grad).all()


def test_interval_overlap_by_hand():
    assert interval_overlap(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0])).item() == pytest.approx(0.5)
    assert interval_overlap(torch.zeros(2), torch.zeros(2)).item() == 0


def test_varifocal_weights_positives_by_their_quality():
    logits, targets = torch.tensor([0.3, 0.3, 0.3]), torch.tensor([0.8, 0.4, 0.0])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = torch.sigmoid(torch.tensor(0.3)).item()
    weights = torch.tensor([0.8, 0.4, 0.75 * probability**2])
    torch.testing.assert_close(varifocal(logits, targets), weights * plain)
    raised = torch.tensor([0.8, 0.6, 0.6])
    torch.testing.assert_close(varifocal(logits, targets, floor=torch.tensor([0.6])), raised * plain)


def test_distribution_focal_by_hand():
    log = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    losses = distribution_focal(log.expand(5, 4), torch.tensor([1.0, 1.25, 3.0, -2.0, 9.0]))
    expected = -torch.stack([log[1], 0.75 * log[1] + 0.25 * log[2], log[3], log[0], log[3]])
    torch.testing.assert_close(losses, expected)
    assert distribution_focal(torch.zeros(2, 1), torch.tensor([0.0, 4.0])).tolist() == [0, 0]
