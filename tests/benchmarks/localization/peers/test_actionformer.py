from __future__ import annotations

import pytest
import torch

from avloc.models import check_network

SMALL = {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2, "levels": 2, "blocks": 1, "radius": 4}


@pytest.fixture
def network():
    from peers.actionformer import ActionFormerLike

    torch.manual_seed(0)
    return ActionFormerLike(**SMALL)


def test_network_fulfils_the_contract(network):
    assert check_network(network) is network
    assert network.cached_features
    assert network.longest_steps is None
    assert type(network)(**network.arguments).state_dict().keys() == network.state_dict().keys()


def test_network_learns_one_clip_by_heart(network, assert_learns_by_heart):
    assert_learns_by_heart(network)


def test_padding_changes_nothing(network, assert_padding_changes_nothing):
    assert_padding_changes_nothing(network)
