from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from avloc.models.attention import Attention, TransformerBlock, local_attention_mask


def _reference_attention(attention, x, context, mask, radius):
    """All steps by all steps under a mask."""
    length = x.shape[1]
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    allowed = ((distance <= radius) & mask[:, None, :] | (distance == 0))[:, None]
    q = attention._split_heads(attention.query(x))
    k, v = (attention._split_heads(p) for p in attention.key_value(context).chunk(2, -1))
    return attention.out(scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("length", [1, 5, 24, 25, 53])
@pytest.mark.parametrize("radius", [1, 4, 24])
def test_local_attention_equals_masked_full_attention(length, radius):
    torch.manual_seed(0)
    attention = Attention(width=12, heads=3).eval()
    x, context = torch.randn(2, length, 12), torch.randn(2, length, 12)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, length // 2 :] = False
    y = attention(x, context, local_attention_mask(mask, radius))
    torch.testing.assert_close(y, _reference_attention(attention, x, context, mask, radius), atol=1e-6, rtol=1e-5)


def test_memory_is_linear_in_length():
    assert local_attention_mask(torch.ones(1, 2400, dtype=torch.bool), 24).allowed.numel() == 2400 * 72


def test_cross_attention_depends_on_nearby_steps_of_the_context():
    torch.manual_seed(0)
    block = TransformerBlock(width=6, heads=3, dropout=0.1, cross=True).eval()
    near = local_attention_mask(torch.ones(1, 19, dtype=torch.bool), 2)
    x, context = torch.randn(1, 19, 6), torch.randn(1, 19, 6)
    changed = context.clone()
    changed[0, 10] = torch.randn(6)
    difference = (block(x, near, context) - block(x, near, changed)).abs().sum(-1)[0]
    assert torch.nonzero(difference > 1e-6).flatten().tolist() == [8, 9, 10, 11, 12]


def test_self_attention_has_no_norm_for_a_context():
    block = TransformerBlock(width=6, heads=3, dropout=0.1)
    assert block.context_norm is None
    assert {name.partition(".")[0] for name in block.state_dict()} == {"norm", "attention", "mlp"}
