from __future__ import annotations

import pytest
import torch
from torch.nn.functional import max_pool2d

from avloc.errors import AvlocError
from avloc.models.batfd.proposal_relation import ChannelAttention, ConvNorm, PositionAttention, ProposalRelation


def test_position_attention_equals_the_written_out_one():
    torch.manual_seed(0)
    attention = PositionAttention(width=6).eval()
    x = torch.randn(2, 6, 5, 9)
    pooled = [max_pool2d(part(x), 2).flatten(2) for part in (attention.key, attention.value)]
    weights = (attention.query(x).flatten(2).transpose(1, 2) @ pooled[0]).softmax(-1)  # B, 45, 8
    expected = x + attention.out((weights @ pooled[1].transpose(1, 2)).transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_channel_layouts_differ_as_described():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 2, 5)
    corrected = ChannelAttention(width=3, layout="channels").eval()
    published = ChannelAttention(width=3, layout="published").eval()
    published.load_state_dict(corrected.state_dict())
    q, k, v = (part(x).flatten(2) for part in (corrected.query, corrected.key, corrected.value))
    y = (q @ k.transpose(1, 2)).softmax(-1) @ v  # 1, 3, 10
    torch.testing.assert_close(corrected(x), x + corrected.out(y.reshape(1, 3, 2, 5)))
    torch.testing.assert_close(published(x), x + published.out(y.transpose(1, 2).reshape(1, 3, 2, 5)))


def test_maps_are_the_branches_and_their_sum():
    torch.manual_seed(0)
    relation = ProposalRelation(width=4, channel_layout="channels").eval()
    x = torch.randn(2, 4, 6, 19)
    position = relation.position_mid(relation.position(relation.position_in(x)))
    channel = relation.channel_mid(relation.channel(relation.channel_in(x)))
    maps = relation(x)
    assert maps.shape == (2, 3, 6, 19)
    torch.testing.assert_close(maps[:, 0], relation.position_out(position)[:, 0].sigmoid())
    torch.testing.assert_close(maps[:, 1], relation.channel_out(channel)[:, 0].sigmoid())
    torch.testing.assert_close(maps[:, 2], relation.both_out(position + channel)[:, 0].sigmoid())


def test_unknown_layout():
    with pytest.raises(AvlocError, match="want channel_layout of channels, published, got 'odd'"):
        ProposalRelation(width=3, channel_layout="odd")


def test_relu_can_be_left_out():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4, 5)
    assert (ConvNorm(3, 1)(x) >= 0).all()
    assert (ConvNorm(3, 1, relu=False)(x) < 0).any()
