from __future__ import annotations

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.heads.clip_labels import ClipTargets
from avloc.heads.modality_points import SEPARATE, TOGETHER, ModalityPointTargetMaker, ModalityPointTargets
from avloc.heads.points import Pyramid
from avloc.models.boundary_transformer.losses import SEGMENT_TERMS, BoundaryLoss
from avloc.models.boundary_transformer.network import BoundaryOutput
from avloc.models.boundary_transformer.weak_pooling import InstancePooling

T, BINS = 19, 9
COLUMNS = {SEPARATE: [slice(0, 1), slice(1, 2)], TOGETHER: [slice(0, 2)]}
GROUPS = pytest.mark.parametrize("groups", COLUMNS, ids=["separate", "together"])
BOTH = VideoRecord("x", "t", None, (Segment(0.12, 0.36),), (Segment(0.2, 0.4),))


def make_loss(groups=SEPARATE, **options):
    return BoundaryLoss(ModalityPointTargetMaker(Pyramid(levels=1), groups), COLUMNS[groups], **options)


def make_targets(loss, record, length=T):
    arrays, _ = loss.target_maker(record, TimeGrid(0, 0.04, length), length)
    return ModalityPointTargets(*(torch.as_tensor(array)[None] for array in arrays))


def make_output(loss, length=T, auxiliary=0):
    """The output for one clip, of a network that has learned nothing: all logits are 0."""
    branches = len(loss.columns)
    return BoundaryOutput(
        point_logits=torch.zeros(1, length, 2),
        distances=torch.ones(1, length, branches, 2),
        step_logits=torch.zeros(1, length, 2),
        boundary_logits=torch.zeros(1, length, branches, 2),
        point_mask=torch.ones(1, length, branches, dtype=torch.bool),
        step_mask=torch.ones(1, length, branches, dtype=torch.bool),
        distance_log_probs=torch.zeros(1, length, branches, 2, BINS).log_softmax(-1),
        auxiliary_logits=torch.zeros(1, length, 2, auxiliary),
        modality_mask=torch.ones(1, 2, dtype=torch.bool),
    )


@GROUPS
def test_the_loss_is_the_weighted_sum_of_its_terms(groups):
    loss = make_loss(groups, coarse_levels=3, part_weight=0.5, distribution_weight=0.2)
    terms = loss(make_output(loss, auxiliary=3 + 5), make_targets(loss, BOTH))
    assert tuple(terms) == (*SEGMENT_TERMS, "coarse", "part", "loss")
    weights = {"boundary": 0.5, "distribution": 0.2, "part": 0.5}
    expected = sum(weights.get(name, 1.0) * term.item() for name, term in terms.items() if name != "loss")
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-6)
    assert terms["distribution"].item() == pytest.approx(torch.log(torch.tensor(float(BINS))).item())


def point_losses(loss, iou):
    """The point loss at the logits of an IoU, and a little off, where each segment reaches half of its truth."""
    targets = make_targets(loss, VideoRecord("x", "t", None, (Segment(0.04, 0.16),), ()), 5)
    output = make_output(loss, 5)._replace(distances=targets.distances / 2)
    is_fake = targets.point_classes > 0
    for shift in (0.0, -0.5, 0.5):
        logits = torch.where(is_fake, torch.logit(torch.tensor(iou)) + shift, -40.0)
        yield loss(output._replace(point_logits=logits), targets)["point"].item()


@GROUPS
def test_point_loss_is_lowest_at_the_iou(groups):
    at, below, above = point_losses(make_loss(groups), 0.5)
    assert at < min(below, above)


def gradients_of_scores(loss, record):
    """The gradient of the point loss at logits of −2, of segments that are right in both branches: (P, M)."""
    targets = make_targets(loss, record)
    logits = torch.full((1, T, 2), -2.0).requires_grad_()
    has_segment = targets.distances.abs().amax(3, keepdim=True) > 0
    both = torch.where(has_segment, targets.distances, targets.distances.flip(2)).clamp_min(0)
    loss(make_output(loss)._replace(distances=both, point_logits=logits), targets)["point"].backward()
    return logits.grad[0], targets.positive[0].any(1)


@GROUPS
def test_the_genuine_modality_of_a_forgery_is_a_hard_negative(groups):
    record = VideoRecord("x", "t", None, (), (Segment(0.12, 0.36),))
    quarter, at = gradients_of_scores(make_loss(groups, naming_weight=0.25), record)
    full, _ = gradients_of_scores(make_loss(groups, naming_weight=1.0), record)
    torch.testing.assert_close(full[at, 0], 4 * quarter[at, 0])
    without, _ = gradients_of_scores(make_loss(groups, naming_weight=0.0), record)
    assert (full[at, 0] > 50 * without[at, 0]).all()
    torch.testing.assert_close(full[at, 1], without[at, 1])  # the forged modality's stay


def test_points_that_are_masked_have_no_share():
    loss = make_loss()
    output = make_output(loss)
    masks = {name: getattr(output, name) & torch.tensor([False, True]) for name in ("point_mask", "step_mask")}
    masked = output._replace(**masks)
    audio_forged, genuine = (
        loss(masked, make_targets(loss, record))
        for record in (VideoRecord("x", "t", None, (Segment(0.12, 0.36),)), VideoRecord("x", "t"))
    )
    for name in ("distance", "step", "boundary", "distribution"):
        assert audio_forged[name].item() == genuine[name].item()


def test_clip_labels_pool_scores_and_take_the_ends_from_certain_clips():
    loss = make_loss(pooling=InstancePooling("top_k"))
    labels = ClipTargets(torch.tensor([[1.0, 0.0]]))
    output = make_output(loss)
    uncertain = loss(output, labels)  # no step scores more than 0.5
    assert sorted(uncertain) == ["boundary", "clip", "distance", "distribution", "loss", "point", "step"]
    assert [uncertain[name].item() for name in ("boundary", "distance", "distribution", "point")] == [0.0] * 4
    steps = output.step_logits.clone()
    steps[0, 3:9, 0] = 4.0
    certain = loss(output._replace(step_logits=steps), labels)
    assert min(certain[name].item() for name in ("boundary", "distance", "distribution", "point")) > 0


def test_targets_of_the_other_kind_are_refused():
    loss, pooled = make_loss(), make_loss(pooling=InstancePooling("top_k"))
    targets = make_targets(loss, BOTH)
    with pytest.raises(AvlocError, match="want ClipTargets with clip_pooling, got ModalityPointTargets"):
        pooled(make_output(pooled), targets)
    with pytest.raises(AvlocError, match="want ModalityPointTargets, got ClipTargets"):
        loss(make_output(loss), ClipTargets(torch.zeros(1, 2)))
