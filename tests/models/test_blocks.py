from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from avloc.models.blocks import Attention, ChannelDropout, GridEncoder, local_attention_mask


def _reference_attention(attention, x, context, mask, radius):
    """All steps by all steps under a mask."""
    length = x.shape[1]
    gap = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    allowed = ((gap <= radius) & mask[:, None, :] | (gap == 0))[:, None]
    q = attention._heads(attention.query(x))
    k, v = (attention._heads(p) for p in attention.key_value(context).chunk(2, -1))
    return attention.out(scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("length", [1, 5, 24, 25, 53])
@pytest.mark.parametrize("radius", [1, 4, 24])
def test_blocks_see_what_is_near(length, radius):
    torch.manual_seed(0)
    attention = Attention(width=12, heads=3).eval()
    x, context = torch.randn(2, length, 12), torch.randn(2, length, 12)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, length // 2 :] = False
    found = attention(x, context, local_attention_mask(mask, radius))
    torch.testing.assert_close(found, _reference_attention(attention, x, context, mask, radius), atol=1e-6, rtol=1e-5)


def test_memory_is_linear_in_length():
    assert local_attention_mask(torch.ones(1, 2400, dtype=torch.bool), 24).allowed.numel() == 2400 * 72


def test_channels_are_dropped_at_all_steps_of_a_clip():
    torch.manual_seed(0)
    drop, x = ChannelDropout(0.4), torch.ones(3, 7, 500)
    y = drop.train()(x)
    assert set(y.unique().mul(0.6).round(decimals=5).tolist()) == {0, 1}
    assert (y == y[:, :1]).all()
    assert not (y[0] == y[1]).all()
    assert (y[:, 0] == 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert drop.eval()(x) is x


def test_a_grid_of_cells_is_seen_as_one():
    """The same thing in another place of the grid gives the same values in another place, before they are projected."""
    torch.manual_seed(0)
    front = GridEncoder(features=3 * 64, width=5, channels=4)
    seen = []
    front.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].unflatten(-1, (4, 4, 4))))
    x = torch.zeros(1, 2, 3, 8, 8)
    x[0, 0, :, 2, 2] = x[0, 1, :, 4, 4] = torch.tensor([1.0, -2.0, 3.0])
    assert front(x.flatten(2), torch.ones(1, 2, dtype=torch.bool)).shape == (1, 2, 5)
    torch.testing.assert_close(seen[0][0, :, 1:3, 1:3], seen[0][1, :, 2:4, 2:4])
