from __future__ import annotations

import numpy as np
import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.clip_pooling import (
    AttentiveStatisticsPooling,
    MeanPooling,
    MultiHeadFactorizedPooling,
    masked_softmax,
)

POOLINGS = {
    "mean": lambda: MeanPooling(6),
    "statistics": lambda: AttentiveStatisticsPooling(6, hidden=5),
    "mhfa": lambda: MultiHeadFactorizedPooling(6, layers=2, heads=3, compressed=4, outputs=7),
}


@pytest.fixture(params=list(POOLINGS))
def pooling(request):
    torch.manual_seed(0)
    return POOLINGS[request.param]()


def test_absent_steps_and_neighbours_have_no_effect(pooling):
    x, mask = torch.randn(3, 19, 6), torch.ones(3, 19, dtype=torch.bool)
    mask[1, 11:] = False
    mask[2] = False
    x[~mask] = float("nan")
    pooled = pooling(x, mask)
    assert pooled.shape == (3, pooling.outputs)
    assert pooled.isfinite().all()
    torch.testing.assert_close(pooling(x[1:2, :11], mask[1:2, :11]), pooled[1:2])
    torch.testing.assert_close(pooling(x[2:, :4], mask[2:, :4]), pooled[2:])


def test_gradients_stay_finite_without_any_step(pooling):
    x = torch.randn(2, 5, 6, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 5])
    pooling(x, mask).square().sum().backward()
    assert x.grad[0].abs().sum() > 0
    assert not x.grad[1].any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in pooling.parameters())


def test_equal_attention_gives_mean_and_deviation():
    pooling = AttentiveStatisticsPooling(2)
    torch.nn.init.zeros_(pooling.attention[2].weight)
    x = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [99.0, 0.0]]])
    pooled = pooling(x, torch.tensor([[True, True, False]]))
    np.testing.assert_allclose(pooled.detach().numpy(), [[2, 5, 1, 0]], atol=2e-3)


def reference_mhfa(pooling, x):
    """The equations for one clip, head by head."""
    layers = [x[:, k * 3 : (k + 1) * 3] for k in range(2)]
    w_key, w_value = pooling.key_weights.softmax(0), pooling.value_weights.softmax(0)
    key = pooling.key(sum(w * z for w, z in zip(w_key, layers, strict=True)))
    value = pooling.value(sum(w * z for w, z in zip(w_value, layers, strict=True)))
    scores = pooling.attention(key)
    heads = [(scores[:, h].softmax(0)[:, None] * value).sum(0) for h in range(scores.shape[1])]
    return pooling.project(torch.cat(heads))


def test_mhfa_equals_its_equations():
    torch.manual_seed(1)
    pooling = POOLINGS["mhfa"]()
    torch.nn.init.normal_(pooling.key_weights)
    torch.nn.init.normal_(pooling.value_weights)
    x = torch.randn(1, 9, 6)
    torch.testing.assert_close(pooling(x, torch.ones(1, 9, dtype=torch.bool))[0], reference_mhfa(pooling, x[0]))


def test_layers_divide_the_width():
    with pytest.raises(AvlocError, match="layers must divide the width, got 4 of 6"):
        MultiHeadFactorizedPooling(6, layers=4)


def test_softmax_of_present_steps():
    scores = torch.tensor([[[0.0], [100.0], [0.0]]])
    assert masked_softmax(scores, torch.tensor([[True, False, True]]))[0, :, 0].tolist() == [0.5, 0, 0.5]
