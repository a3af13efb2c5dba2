from __future__ import annotations

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.batch import stack_targets
from avloc.models import check_network

SMALL = {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2, "levels": 2, "blocks": 1, "radius": 4}


@pytest.fixture
def network():
    from peers.ummaformer import UMMAFormerLike

    torch.manual_seed(0)
    return UMMAFormerLike(**SMALL)


def test_network_fulfils_the_contract(network):
    assert check_network(network) is network
    assert type(network)(**network.arguments).state_dict().keys() == network.state_dict().keys()


def test_network_learns_one_clip_by_heart(network, assert_learns_by_heart):
    assert_learns_by_heart(network)


def test_padding_changes_nothing(network, assert_padding_changes_nothing):
    assert_padding_changes_nothing(network)


def test_reconstruction_learns_real_steps_only(network):
    network.eval()
    mask = torch.ones(1, 19, dtype=torch.bool)
    output = network(torch.randn(1, 19, 7), torch.randn(1, 19, 5), mask, mask)
    assert output.reconstruction.shape == (1, 19, 2)
    grids, forged = [TimeGrid(0, 0.04, 19)], VideoRecord("x", "train", audio_segments=(Segment(0.0, 0.4),))
    targets, _ = stack_targets([forged], grids, 19, network.target_maker)
    terms = network.loss(output, targets)
    assert terms["reconstruction"].item() == pytest.approx(output.reconstruction[:, 10:].mean().item())
    parts = terms["point"] + terms["distance"] + 0.2 * terms["reconstruction"]
    assert terms["loss"].item() == pytest.approx(parts.item())
