from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, conv3d, leaky_relu

from avloc.models.batfd import boundary_module
from avloc.models.batfd.boundary_module import MAP_BIAS, BoundaryModule, FusionWeight, MapFusion, MapTrunk, single
from avloc.models.batfd.boundary_sampling import cell_sampling

F, D, N, C = 13, 4, 3, 5


def _reference_trunk(trunk, features, sampling):
    """The published order: sample with a dense matrix, then fold the samples by a 3-D convolution."""
    weights = sampling(torch.eye(N * F)).unflatten(0, (F, D)).unflatten(-1, (N, F))  # S, D, N, F
    samples = torch.einsum("bcf,sdnf->bcnds", features, weights)
    x = leaky_relu(conv3d(samples, trunk.fold.weight[..., None, None], trunk.fold.bias)[:, :, 0], 0.01)
    x = leaky_relu(conv2d(x, trunk.squeeze.weight[..., None, None], trunk.squeeze.bias), 0.01)
    return leaky_relu(trunk.context(x), 0.01)


@pytest.mark.parametrize("kind", ["proposal", "published"])
@pytest.mark.parametrize("chunk_cells", [4096, 7])
def test_trunk_equals_sampling_before_folding(kind, chunk_cells, monkeypatch):
    monkeypatch.setattr(boundary_module, "CHUNK_CELLS", chunk_cells)
    torch.manual_seed(0)
    trunk, sampling = MapTrunk(features=C, samples=N, widths=(7, 6)), cell_sampling(F, D, N, kind)
    features = torch.randn(2, C, F)
    expected = _reference_trunk(trunk, features, sampling)
    torch.testing.assert_close(trunk(features, sampling), expected, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(trunk(features, sampling), expected.detach(), atol=1e-5, rtol=1e-5)


def test_map_starts_near_zero():
    torch.manual_seed(0)
    module = BoundaryModule(features=C, samples=N, widths=(7, 6))
    boundary_map = module(torch.zeros(1, C, F), cell_sampling(F, D, N, "proposal"))
    assert module.out.bias.item() == MAP_BIAS
    assert boundary_map.shape == (1, D, F)
    assert (boundary_map < 0.3).all()


def test_fusion_weight_is_a_half_for_logits_of_zero():
    weight = FusionWeight(features=C, durations=D)
    with torch.no_grad():
        for p in weight.parameters():
            p.zero_()
    assert (weight(torch.rand(1, D, F), torch.rand(1, C, F), torch.rand(1, C, F)) == 0.5).all()


def test_fusion_is_a_weighted_mean():
    torch.manual_seed(0)
    fusion = MapFusion(features=C, durations=D)
    video_map, audio_map, video, audio = (
        torch.rand(2, D, F),
        torch.rand(2, D, F),
        torch.rand(2, C, F),
        torch.rand(2, C, F),
    )
    fused = fusion(video_map, audio_map, video, audio)
    assert (fused >= torch.minimum(video_map, audio_map) - 1e-6).all()
    assert (fused <= torch.maximum(video_map, audio_map) + 1e-6).all()
    with torch.no_grad():
        for branch in (fusion.audio.from_map, fusion.audio.from_own, fusion.audio.from_other):
            branch.bias.fill_(-100.0)
    torch.testing.assert_close(fusion(video_map, audio_map, video, audio), video_map, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(dtype):
    assert single(torch.zeros(2, dtype=dtype)).dtype == torch.float32
