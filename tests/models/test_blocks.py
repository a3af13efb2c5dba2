from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from avloc.models.blocks import Attention, near


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
    attention = Attention(width=12, heads=3, dropout=0.0).eval()
    x, context = torch.randn(2, length, 12), torch.randn(2, length, 12)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, length // 2 :] = False
    found = attention(x, context, near(mask, radius))
    torch.testing.assert_close(found, _reference_attention(attention, x, context, mask, radius), atol=1e-6, rtol=1e-5)


def test_memory_is_linear_in_length():
    assert near(torch.ones(1, 2400, dtype=torch.bool), 24).allowed.numel() == 2400 * 72
