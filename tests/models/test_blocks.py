from __future__ import annotations

import pytest
import torch

from avloc.models.blocks import ChannelDropout, ConvBlock, ConvHead, MaskedBatchNorm, MaskedInstanceNorm, halve


def test_instance_norm_uses_real_steps_only():
    x = torch.tensor([[[1.0, 7.0], [3.0, 7.0], [50.0, 60.0]]])
    y = MaskedInstanceNorm()(x, torch.tensor([[True, True, False]]))
    deviation = (1 + 1e-2) ** 0.5
    torch.testing.assert_close(y, torch.tensor([[[-1 / deviation, 0.0], [1 / deviation, 0.0], [0.0, 0.0]]]))


def test_instance_norm_of_an_empty_clip_is_zero():
    assert not MaskedInstanceNorm()(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).any()


def test_channel_dropout_drops_channels_at_all_steps_of_a_clip():
    torch.manual_seed(0)
    drop, x = ChannelDropout(0.4), torch.ones(3, 7, 500)
    y = drop.train()(x)
    assert set(y.unique().mul(0.6).round(decimals=5).tolist()) == {0, 1}
    assert (y == y[:, :1]).all()
    assert not (y[0] == y[1]).all()
    assert (y[:, 0] == 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert drop.eval()(x) is x


def test_conv_block_ignores_padding():
    torch.manual_seed(0)
    block = ConvBlock(width=4, kernel=5, dropout=0.1).eval()
    x, mask = torch.randn(1, 19, 4), torch.arange(19)[None] < 11
    torch.testing.assert_close(block(x, mask)[:, :11], block(x[:, :11], mask[:, :11]))


def test_conv_head_starts_at_its_bias():
    head = ConvHead(width=4, outputs=3, bias=-4.0)
    assert head.out.bias.tolist() == [-4.0] * 3
    assert head(torch.zeros(2, 1, 4), torch.ones(2, 1, dtype=torch.bool)).shape == (2, 1, 3)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_halve_keeps_the_larger_real_value(length):
    x = -torch.arange(1.0, length + 1)[None, :, None]
    pooled, half = halve(x, torch.ones(1, length, dtype=torch.bool))
    assert pooled.flatten().tolist() == [-float(k) for k in range(1, length + 1, 2)]
    assert half.all()


def test_halve_ignores_padding():
    x = torch.tensor([[[-3.0], [9.0], [9.0], [9.0]]])
    pooled, half = halve(x, torch.tensor([[True, False, False, False]]))
    assert pooled.flatten().tolist() == [-3.0, 0.0]
    assert half.tolist() == [[True, False]]


def test_batch_norm_trains_at_half_precision():
    """The running statistics follow those of the same batches in float32, to the digits that they keep."""
    torch.manual_seed(0)
    x, mask = 3 + 2 * torch.randn(2, 3, 19, 5), torch.arange(19)[None].expand(2, -1) < 11
    norms = [MaskedBatchNorm(3).to(dtype) for dtype in (torch.float32, torch.bfloat16)]
    outputs = [norm(x.to(norm.weight.dtype), mask) for norm in norms]
    assert outputs[1].dtype == torch.bfloat16
    torch.testing.assert_close(outputs[1].float(), outputs[0], atol=0.05, rtol=0.05)
    torch.testing.assert_close(norms[1].running_mean.float(), norms[0].running_mean, atol=0.01, rtol=0.02)
