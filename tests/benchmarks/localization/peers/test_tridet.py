from __future__ import annotations

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.datasets.loading.batch import stack_targets
from avloc.heads.losses import focal, interval_overlap
from avloc.models import check_network

SMALL = {"audio_dim": 7, "visual_dim": 5, "width": 16}


@pytest.fixture
def network():
    from peers.tridet import TriDetLike

    torch.manual_seed(0)
    return TriDetLike(**SMALL)


def test_network_fulfils_the_contract(network):
    assert check_network(network) is network
    assert network.arguments["bins"] == 12
    assert type(network)(**network.arguments).state_dict().keys() == network.state_dict().keys()


def test_network_learns_one_clip_by_heart(network, assert_learns_by_heart):
    assert_learns_by_heart(network)


def test_padding_changes_nothing(network, assert_padding_changes_nothing):
    assert_padding_changes_nothing(network)


@pytest.mark.parametrize("duration_s", [0.1, 0.63, 0.64, 1.27, 1.5, 2.0])
def test_bins_reach_the_boundaries_of_every_fake_of_the_corpus(network, duration_s):
    for start_s in (0.5, 0.513, 0.531):
        record = VideoRecord("x", "train", audio_segments=(Segment(start_s, start_s + duration_s),))
        targets, unassigned = network.target_maker(record, TimeGrid(0, 0.04, 101), 101)
        assert unassigned == 0
        assert targets.distances.max() <= network.bins - 1


def test_expected_distances_by_hand():
    from peers.tridet import expected_distances

    responses = torch.full((1, 7, 2), -50.0)
    responses[0, 1, 0] = responses[0, 5, 1] = 50.0
    distances = expected_distances(responses, torch.zeros(1, 7, 2, 4))
    assert distances[0, 3].tolist() == pytest.approx([2.0, 2.0])
    assert distances[0, 2].tolist() == pytest.approx([1.0, 3.0])
    responses[0, 2, 0] = 50.0  # two steps look alike as a start, and the point's own offsets decide
    offsets = torch.zeros(1, 7, 2, 4)
    assert expected_distances(responses, offsets)[0, 3, 0].item() == pytest.approx(1.5)
    offsets[0, 3, 0, 2] = 50.0
    assert expected_distances(responses, offsets)[0, 3, 0].item() == pytest.approx(2.0)
    assert expected_distances(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, 4))[0, 0, 0].item() == 0  # the clip begins


def test_perception_by_its_equation():
    from peers.tridet import ScalableGranularity

    torch.manual_seed(0)
    layer = ScalableGranularity(width=3, window=1, wide_window=3)
    x, mask = torch.randn(1, 5, 3), torch.tensor([[True] * 4 + [False]])
    real = x[0, :4]
    phi = torch.relu(layer.clip(real.mean(0)))
    padded = torch.cat([torch.zeros(1, 3), real, torch.zeros(1, 3)])
    wide = sum(padded[k : k + 4] * layer.wide.weight[:, 0, k] for k in range(3)) + layer.wide.bias
    gate, narrow = (real * conv.weight[:, 0, 0] + conv.bias for conv in (layer.gate, layer.narrow))
    expected = phi * layer.instant(real) + gate * (narrow + wide) + real
    assert layer(x, mask)[0, :4].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-6)
    assert (layer(x, mask)[0, 4] == 0).all()


def test_positive_points_weigh_as_their_overlap(network):
    mask = torch.ones(1, 19, dtype=torch.bool)
    output = network.eval()(torch.randn(1, 19, 7), torch.randn(1, 19, 5), mask, mask)
    record = VideoRecord("x", "train", None, (Segment(0.12, 0.36),), (Segment(0.12, 0.36),))
    targets, _ = stack_targets([record], [TimeGrid(0, 0.04, 19)], 19, network.target_maker)
    losses, plain = network.class_loss(output, targets), focal(output.point_logits, targets.point_classes).sum(-1)
    positive = targets.positive[0]
    assert 0 < positive.sum() < len(positive)
    assert losses[0, ~positive].tolist() == pytest.approx(plain[0, ~positive].tolist())
    overlap = interval_overlap(output.distances, targets.distances)[0, positive]
    assert losses[0, positive].tolist() == pytest.approx((plain[0, positive] * overlap).tolist())
