"""Blocks that the networks share. Legend: B batch, T steps, C width, D input width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, max_pool1d

SLOPE = 0.01  # of every LeakyReLU of BA-TFD and BA-TFD+


class MaskedInstanceNorm(nn.Module):
    """Normalize each channel of each clip to mean 0 and deviation 1 over its real steps: (B, T, D) → (B, T, D).

    Forgeries stand out within a clip; the norm removes the voice, camera and loudness of the clip as a whole.

    >>> x, mask = torch.tensor([[[3.0], [5.0], [99.0]]]), torch.tensor([[True, True, False]])
    >>> MaskedInstanceNorm()(x, mask).round(decimals=2).flatten().tolist()
    [-1.0, 1.0, 0.0]
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weight = mask[..., None].to(x.dtype)
        count = weight.sum(1, keepdim=True).clamp_min(1)
        mean = (x * weight).sum(1, keepdim=True) / count
        variance = ((x - mean).square() * weight).sum(1, keepdim=True) / count
        return (x - mean) * (variance + 1e-2).rsqrt() * weight


class MaskedBatchNorm(nn.Module):
    """Batch norm of maps over the real rows of a batch: (B, C, R, F) → (B, C, R, F).

    Ioffe and Szegedy, "Batch normalization", ICML 2015; padding and absent rows do not count, so that the statistics do not
    depend on how clips are batched.

    Args:
        channels: C.
        momentum: weight of a batch in the running statistics.

    >>> MaskedBatchNorm(3)(torch.zeros(2, 3, 19, 5), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 3, 19, 5])
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalize `x` over the rows of `mask` (B, R), by the running statistics outside of training."""
        mean, variance = self.running_mean, self.running_variance
        if self.training:
            real = mask[:, None, :, None].float()
            count = (real.sum() * x.shape[3]).clamp_min(1)
            mean = (x.float() * real).sum((0, 2, 3)) / count
            variance = ((x.float() - mean[:, None, None]).square() * real).sum((0, 2, 3)) / count
            with torch.no_grad():
                momentum = self.momentum * mask.any().to(mean.dtype)  # a batch without rows says nothing
                for running, value in ((self.running_mean, mean), (self.running_variance, variance)):
                    running.lerp_(value.to(running.dtype), momentum.to(running.dtype))
        scale = self.weight * (variance + 1e-5).rsqrt()
        y = x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return y.to(self.weight.dtype)  # statistics are of float32, and the next layer takes the weights' type


class ChannelDropout(nn.Module):
    """Dropout of whole channels of a clip, at all of its steps: (B, …, T, D) → the same. Planes lose the same channels.

    Neighbouring steps are nearly equal, so they would reveal a number that is dropped alone (Tompson et al., "Efficient object
    localization using convolutional networks", CVPR 2015, section 3.2). It also draws T times fewer random numbers.

    Args:
        probability: of dropping a channel.

    >>> ChannelDropout(0.5).eval()(torch.ones(1, 2, 3)).unique().item()
    1.0
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.probability):
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 2), x.shape[-1]).bernoulli_(1 - self.probability) / (
            1 - self.probability
        )
        return x * kept


class ConvBlock(nn.Module):
    """Residual convolution, x + GELU(convolution of the normalized x), over real steps only: (B, T, C) → (B, T, C).

    Args:
        width: C.
        kernel: steps that the convolution sees, odd.
        dropout: probability of dropping a channel.

    >>> block = ConvBlock(width=4, kernel=3, dropout=0.1)
    >>> block(torch.zeros(2, 19, 4), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 19, 4])
    """

    def __init__(self, *, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.drop = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = (self.norm(x) * mask[..., None]).transpose(1, 2)
        return x + self.drop(gelu(self.conv(y)).transpose(1, 2)) * mask[..., None]


class ConvHead(nn.Module):
    """Two convolutions and a projection, shared by all levels of a pyramid: (B, T, C) → (B, T, outputs).

    Args:
        width: C.
        outputs: number of outputs per step.
        bias: first bias of all outputs.

    >>> ConvHead(width=4, outputs=3)(torch.zeros(2, 19, 4), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 19, 3])
    """

    def __init__(self, *, width: int, outputs: int, bias: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=0.0) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs)
        nn.init.constant_(self.out.bias, bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.norm(x))


def halve(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Max-pool every two steps to one: (B, T, C), (B, T) → (B, ceil(T / 2), C), (B, ceil(T / 2)).

    >>> x, mask = torch.tensor([[[1.0], [4.0], [-3.0], [9.0]]]), torch.tensor([[True, True, True, False]])
    >>> pooled, half = halve(x, mask)
    >>> pooled.flatten().tolist(), half.tolist()
    ([4.0, -3.0], [[True, True]])
    """
    hidden = x.masked_fill(~mask[..., None], torch.finfo(x.dtype).min)
    pooled = max_pool1d(hidden.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
    half = max_pool1d(mask[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
    return pooled.masked_fill(~half[..., None], 0.0), half
