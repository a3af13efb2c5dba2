from __future__ import annotations

import pytest
import torch

from avloc.core.timeline import TimeGrid


@pytest.fixture
def network():
    from peers.point_detector import PointDetector

    return PointDetector(audio_dim=7, visual_dim=5, width=8, levels=1)


@pytest.fixture
def output():
    """One clip of 5 steps: a point whose audio is forged, and another one, of a lower score, with both."""
    from peers.point_detector import PointOutput

    probabilities = torch.full((1, 5, 2), 0.001)
    probabilities[0, 1] = torch.tensor([0.9, 0.2])
    probabilities[0, 4] = torch.tensor([0.3, 0.4])
    distances = torch.full((1, 5, 2), 0.5)
    mask = torch.ones(1, 5, dtype=torch.bool)
    return PointOutput(probabilities.logit(), distances, mask, mask, torch.zeros(()))


def test_a_proposal_has_the_scores_of_both_modalities(network, output):
    (proposals,) = network.decode(output, [TimeGrid(1.0, 1.0, 5)])
    assert proposals.segments[:2].tolist() == [[2.0, 3.0], [5.0, 6.0]]
    assert proposals.scores[:2] == pytest.approx([0.9, 0.4])
    assert proposals.modality_scores[:2] == pytest.approx(torch.tensor([[0.9, 0.2], [0.3, 0.4]]).numpy())


def test_a_wrong_modality_costs(network, output):
    from avloc.heads.points import PointTargets

    classes, positive = torch.zeros(1, 5, 2), torch.zeros(1, 5, dtype=torch.bool)
    classes[0, 1, 0], positive[0, 1] = 1.0, True
    targets = PointTargets(classes, output.distances, positive, torch.zeros(1, 5, 2), torch.zeros(1, 5, 2))
    right = network.loss(output, targets)
    wrong = network.loss(output, targets._replace(point_classes=classes.flip(-1)))
    assert right["distance"].item() == pytest.approx(0, abs=1e-6)
    assert right["loss"].item() == pytest.approx((right["point"] + right["distance"]).item())
    assert wrong["point"] > 5 * right["point"]
    masked = network.loss(output._replace(point_mask=torch.zeros(1, 5, dtype=torch.bool)), targets)
    assert masked["loss"].item() == 0
