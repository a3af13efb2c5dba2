from __future__ import annotations

import pytest
import torch

from avloc.core.timeline import TimeGrid
from avloc.models import check_network

SMALL = {"audio_dim": 7, "visual_dim": 5, "width": 16, "heads": 2, "radius": 4}


@pytest.fixture(params=["ActionFormerLike", "UMMAFormerLike"])
def network(request):
    import baselines

    torch.manual_seed(0)
    return getattr(baselines, request.param)(**SMALL)


def test_baseline_fulfils_the_contract(network):
    assert check_network(network) is network
    assert network.cached_features
    assert network.longest_steps is None
    assert type(network)(**network.arguments).state_dict().keys() == network.state_dict().keys()


def test_baseline_learns_one_clip_by_heart(network, assert_learns_by_heart):
    assert_learns_by_heart(network)


def test_padding_changes_nothing(network):
    network.eval()
    mask = torch.ones(1, 19, dtype=torch.bool)
    audio, video = torch.randn(1, 19, 7), torch.randn(1, 19, 5)
    padded = [torch.cat([x, torch.full_like(x[:, :13], 9.0)], 1) for x in (audio, video)]
    padded_mask = torch.cat([mask, torch.zeros(1, 13, dtype=torch.bool)], 1)
    grid = TimeGrid(0, 0.04, 19)
    with torch.inference_mode():
        (alone,) = network.decode(network(audio, video, mask, mask), [grid])
        (beside,) = network.decode(network(*padded, padded_mask, padded_mask), [grid])
    assert beside.segments[0] == pytest.approx(alone.segments[0], abs=1e-4)
    assert beside.scores[0] == pytest.approx(alone.scores[0], abs=1e-4)


def test_ummaformer_reconstructs_real_steps_only():
    from baselines import UMMAFormerLike

    from avloc.core.records import VideoRecord
    from avloc.core.timeline import Segment
    from avloc.datasets.loading.batch import stack_targets

    torch.manual_seed(0)
    network = UMMAFormerLike(**SMALL).eval()
    mask = torch.ones(1, 19, dtype=torch.bool)
    output = network(torch.randn(1, 19, 7), torch.randn(1, 19, 5), mask, mask)
    assert output.reconstruction.shape == (1, 19, 2)
    grids, forged = [TimeGrid(0, 0.04, 19)], VideoRecord("x", "train", audio_segments=(Segment(0.0, 0.4),))
    targets, _ = stack_targets([forged], grids, 19, network.target_maker)
    terms = network.loss(output, targets)
    assert terms["reconstruction"].item() == pytest.approx(output.reconstruction[:, 10:].mean().item())
    parts = terms["point"] + terms["distance"] + 0.2 * terms["reconstruction"]
    assert terms["loss"].item() == pytest.approx(parts.item())
