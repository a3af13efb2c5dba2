from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.core.timeline import TimeGrid
from avloc.models import check_network

SMALL = {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2, "blocks": 1, "radius": 4}


@pytest.fixture
def network():
    from peers.frame_wise import FrameWise

    torch.manual_seed(0)
    return FrameWise(**SMALL)


def test_frame_wise_fulfils_the_contract(network):
    assert check_network(network) is network
    assert network.cached_features


def test_frame_wise_learns_one_clip_by_heart(network, assert_learns_by_heart):
    assert_learns_by_heart(network)


def test_decoding_by_hand(network):
    from peers.frame_wise import StepOutput

    logits = torch.full((2, 6, 2), -20.0)
    logits[0, 2:4, 1] = 20.0
    output = StepOutput(logits, torch.ones(2, 6, dtype=torch.bool))
    forged, real = network.decode(output, [TimeGrid(1.0, 0.5, 6), TimeGrid(0.0, 0.5, 4)])
    # The thresholds' runs end where the line between two steps' middles crosses: at 0.5 exactly between them.
    assert forged.segments[0] == pytest.approx([2.0, 3.0], abs=0.21)
    assert forged.scores[0] == pytest.approx(1.0)
    assert len(real) == 0


def test_runs_are_named_by_the_means_of_the_modalities(network):
    from peers.frame_wise import StepOutput

    probabilities = torch.full((1, 5, 2), 0.001)
    probabilities[0, 1:4, 0] = torch.tensor([0.8, 0.8, 0.8])
    probabilities[0, 2, 1] = 0.6
    (forged,) = network.decode(
        StepOutput(probabilities.logit(), torch.ones(1, 5, dtype=torch.bool)), [TimeGrid(0, 1, 5)]
    )
    assert forged.modality_scores[0] == pytest.approx([0.8, 0.602 / 3])


def test_runs_by_hand():
    from peers.frame_wise import runs_above

    probabilities = np.array([0.0, 0.4, 0.8, 0.4, 0.0])
    assert runs_above(probabilities, 0.6) == [(2.0, 3.0, 2, 2)]
    assert runs_above(probabilities, 0.2) == [(1.0, 4.0, 1, 3)]
    assert runs_above(probabilities, 0.9) == []
    assert runs_above(np.ones(3), 0.5) == [(0.0, 3.0, 0, 2)]
    assert runs_above(np.zeros(0), 0.5) == []
