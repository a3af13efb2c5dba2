from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.heads.modality_points import ModalityPointTargetMaker
from avloc.heads.points import Pyramid
from avloc.models.boundary_transformer.point_branch import MASKED_LOGIT
from avloc.models.boundary_transformer.weak_pooling import (
    InstancePooling,
    attention_mean,
    by_modality,
    multiple_instance_loss,
    noisy_or,
    point_segments,
    pooled_losses,
    pseudo_segments,
    pseudo_targets,
    top_k_mean,
)
from avloc.models.clip_pooling import (
    AttentiveStatisticsPooling,
    MeanPooling,
    MultiHeadFactorizedPooling,
)

LOGITS = torch.tensor([[[-1.0], [2.0], [0.5], [7.0]], [[0.0], [-3.0], [1.0], [4.0]]])  # 2 clips of 4 instances
MASK = torch.tensor([[[True], [True], [True], [False]], [[True], [True], [False], [False]]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_noisy_or_is_one_minus_the_product():
    pooled = noisy_or(LOGITS, MASK).sigmoid()[:, 0].tolist()
    first = 1 - (1 - sigmoid(-1)) * (1 - sigmoid(2)) * (1 - sigmoid(0.5))
    assert pooled == pytest.approx([first, 1 - 0.5 * (1 - sigmoid(-3))], rel=1e-5)


def test_noisy_or_of_extreme_scores_is_finite_and_learns():
    logits = torch.tensor([-60.0, 60.0, 0.0]).expand(3, 3).T[:, :, None].clone().requires_grad_()
    pooled = noisy_or(logits, torch.ones(3, 3, 1, dtype=torch.bool))
    pooled.sum().backward()
    assert pooled.isfinite().all()
    assert logits.grad.isfinite().all()
    assert (logits.grad[2] > 0).all()
    assert noisy_or(logits, torch.zeros(3, 3, 1, dtype=torch.bool)).sigmoid().max() < 1e-11


@pytest.mark.parametrize(("share", "expected"), [(0.1, [2.0, 0.0]), (0.5, [1.25, 0.0]), (1.0, [0.5, -1.5])])
def test_top_k_counts_the_instances_of_each_clip(share, expected):
    assert top_k_mean(LOGITS, MASK, share)[:, 0].tolist() == pytest.approx(expected)
    assert top_k_mean(LOGITS, torch.zeros_like(MASK), share).unique().tolist() == [MASKED_LOGIT]


def test_attention_weighs_by_a_softmax():
    attention = torch.tensor([[[0.0], [math.log(3.0)], [0.0], [50.0]], [[0.0], [0.0], [9.0], [9.0]]])
    expected = [(-1.0 + 3 * 2.0 + 0.5) / 5, -1.5]
    assert attention_mean(LOGITS, MASK, attention)[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["noisy_or", "top_k", "attention"])
def test_gradients_are_those_of_differences(kind):
    torch.manual_seed(0)
    logits, attention = (torch.randn(2, 4, 1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    pooling = InstancePooling(kind, share=0.5)
    labels = torch.tensor([[1.0], [0.0]], dtype=torch.float64)

    def loss(x, a):
        return multiple_instance_loss(pooling(x, MASK, a), x, MASK, labels)

    assert torch.autograd.gradcheck(loss, (logits, attention))


def test_instances_of_real_clips_are_hard_zeros():
    logits = LOGITS.clone().requires_grad_()
    pooled = top_k_mean(logits, MASK, 0.1)
    loss = multiple_instance_loss(pooled, logits, MASK, torch.tensor([[1.0], [0.0]]))
    softplus = [math.log1p(math.exp(x)) for x in (0.0, -3.0)]
    clips = (math.log1p(math.exp(-2.0)) + math.log(2.0)) / 2
    assert loss.item() == pytest.approx(clips + sum(softplus) / 2, rel=1e-5)
    loss.backward()
    gradient = logits.grad[..., 0]
    assert gradient[0].tolist() == pytest.approx(
        [0, -0.5 * (1 - sigmoid(2)), 0, 0]
    )  # the best of a fake clip rises alone
    assert (gradient[1, :2] > 0).all()  # all of a real clip fall, also those that are not pooled
    assert gradient[1, 2:].tolist() == [0, 0]


def test_a_clip_without_the_modality_has_no_share():
    mask = MASK.clone()
    mask[1] = False
    loss = multiple_instance_loss(top_k_mean(LOGITS, mask, 0.1), LOGITS, mask, torch.tensor([[1.0], [1.0]]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2.0)), rel=1e-5)
    nothing = torch.zeros_like(MASK)
    assert multiple_instance_loss(top_k_mean(LOGITS, nothing, 1), LOGITS, nothing, torch.ones(2, 1)).item() == 0


def test_wrong_poolings_are_refused():
    with pytest.raises(AvlocError, match=r"want clip_pooling of noisy_or, top_k, attention .*, got 'mean' and 0.1"):
        InstancePooling("mean")
    with pytest.raises(AvlocError, match="got 'top_k' and 0"):
        InstancePooling("top_k", share=0.0)
    with pytest.raises(AvlocError, match="attention pooling wants the weights"):
        InstancePooling("attention")(LOGITS, MASK)


def test_runs_of_a_curve():
    assert pseudo_segments(np.array([0.9, 0.4, 0.6, 0.7]), 0.5).tolist() == [[0, 1], [2, 4]]
    assert pseudo_segments(np.array([0.5, 0.5]), 0.5).shape == (0, 2)
    assert pseudo_segments(np.zeros(0), 0.5).shape == (0, 2)


def test_pseudo_targets_are_those_of_the_curves_of_fake_clips():
    maker = ModalityPointTargetMaker(Pyramid(levels=1))
    curve = torch.tensor([0.1, 0.8, 0.9, 0.3, 0.0])
    faint = torch.tensor([0.0, 0.4, 0.0, 0.0, 0.0])
    scores = torch.stack([torch.stack([part, part], -1) for part in (curve, curve, faint)])
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    targets, certain = pseudo_targets(scores, labels, maker)
    assert certain.tolist() == [True, True, False]  # the faint one is not yet sure of any step
    assert targets.positive[0].T.tolist() == [[False, True, True, False, False], [False] * 5]
    assert targets.distances[0, 1, 0].tolist() == [0.5, 1.5]
    assert not targets.positive[1].any()
    assert targets.boundary_labels[1].max() == 0


def test_segments_of_points():
    distances = torch.ones(1, 5 + 3, 1, 2) * torch.tensor([0.5, 1.5])
    segments = point_segments(distances, 5, 2)[0, :, 0].tolist()
    assert segments[:2] == [[0.0, 2.0], [1.0, 3.0]]
    assert segments[5:] == [[0.0, 4.0], [2.0, 6.0], [4.0, 8.0]]


def test_masks_by_modality():
    mask = torch.tensor([[[True, False]]])
    assert by_modality(mask, [slice(0, 1), slice(1, 2)]).tolist() == [[[True, False]]]
    assert by_modality(mask[..., :1], [slice(0, 2)]).tolist() == [[[True, True]]]


def test_points_take_the_attention_of_their_segments():
    """Two points: the one over the attended steps counts alone."""
    attention = torch.tensor([50.0, 50.0, -50.0, -50.0])
    output = SimpleNamespace(
        auxiliary_logits=torch.stack([attention, attention], -1)[None, ..., None],
        step_mask=torch.ones(1, 4, 1, dtype=torch.bool),
        point_mask=torch.ones(1, 4, 1, dtype=torch.bool),
        distances=torch.full((1, 4, 1, 2), 0.5),
        point_logits=torch.tensor([3.0, 3.0, -9.0, -9.0])[None, :, None].expand(1, 4, 2),
        step_logits=torch.zeros(1, 4, 2),
    )
    terms = pooled_losses(output, torch.ones(1, 2), InstancePooling("attention"), [slice(0, 2)], 1)
    assert terms["clip"].item() == pytest.approx(math.log1p(math.exp(-3.0)), rel=1e-4)
    assert terms["step"].item() == pytest.approx(math.log(2.0), rel=1e-5)


BACK_ENDS = {
    "mean": lambda: MeanPooling(3),
    "statistics": lambda: AttentiveStatisticsPooling(3, hidden=4),
    "mhfa": lambda: MultiHeadFactorizedPooling(3, heads=2, compressed=4, outputs=5),
}


@pytest.mark.parametrize("back_end", BACK_ENDS.values(), ids=BACK_ENDS)
def test_back_ends_learn_clips_and_steps_from_clip_labels(back_end):
    torch.manual_seed(0)
    stream = 0.3 * torch.randn(8, 19, 3)
    stream[::2, 7:12, 1] += 2.0
    labels, mask = torch.tensor([[1.0], [0.0]] * 4), torch.ones(8, 19, dtype=torch.bool)
    pooling, steps = back_end(), torch.nn.Linear(3, 1)
    clips = torch.nn.Linear(pooling.outputs, 1)
    weights = [weight for module in (pooling, clips, steps) for weight in module.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.1)
    top = InstancePooling("top_k", share=0.2)
    for _ in range(120):
        step_logits, clip_logits = steps(stream), clips(pooling(stream, mask))
        loss = multiple_instance_loss(clip_logits, step_logits, mask[..., None], labels)
        loss = loss + multiple_instance_loss(top(step_logits, mask[..., None]), step_logits, mask[..., None], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert clip_logits[::2].min() > clip_logits[1::2].max()
    assert all(7 <= step < 12 for step in step_logits[::2, :, 0].argmax(1).tolist())
    assert step_logits[::2, 7:12].mean() > 0 > step_logits[1::2].max()
