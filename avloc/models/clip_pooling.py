"""Back ends for clip scores: a stream of embeddings > one vector per clip, by its steps that are present.

Legend: B batch, T steps, C width, L layers side by side, H heads.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from avloc.errors import AvlocError

SMALLEST_VARIANCE = 1e-6


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax along the steps that are present; 0 elsewhere, and in clips without any: (B, T, H), (B, T) → (B, T, H).

    The mask may also be one per head, (B, T, H).

    >>> masked_softmax(torch.zeros(2, 3, 1), torch.tensor([[True, True, False], [False] * 3]))[..., 0].tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    real = mask if mask.dim() == scores.dim() else mask[..., None]
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~real, lowest).softmax(1) * real


class MeanPooling(nn.Module):
    """The mean: (B, T, C), (B, T) → (B, C).

    Args:
        width: C.

    Attributes:
        outputs: width of the result.

    >>> MeanPooling(1)(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]])).tolist()
    [[2.0]]
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.outputs = width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        real = mask[..., None]
        return x.masked_fill(~real, 0).sum(1) / real.sum(1).clamp_min(1)


class AttentiveStatisticsPooling(nn.Module):
    """Mean and deviation, weighted by a learned attention: (B, T, C), (B, T) → (B, 2·C).

    Okabe et al., "Attentive statistics pooling for deep speaker embedding", Interspeech 2018.

    Args:
        width: C.
        hidden: width of the attention's hidden layer.

    Attributes:
        outputs: width of the result.

    >>> AttentiveStatisticsPooling(4)(torch.zeros(2, 19, 4), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 8])
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.outputs = 2 * width
        self.attention = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.masked_fill(~mask[..., None], 0)
        weights = masked_softmax(self.attention(x), mask)
        mean = (weights * x).sum(1)
        variance = (weights * (x - mean[:, None]).square()).sum(1)
        return torch.cat([mean, variance.clamp_min(SMALLEST_VARIANCE).sqrt() * mask.any(1, keepdim=True)], -1)


class MultiHeadFactorizedPooling(nn.Module):
    """MHFA: keys and values mixed from the layers of a network, and an attention per head: (B, T, L·C), (B, T) → (B, outputs).

    Peng et al., "An attention-based backend allowing efficient fine-tuning of transformer models for speaker verification", SLT
    2022, section 3: keys and values have layer weights and a compression of their own; a head weighs all steps.

    Args:
        width: L·C.
        layers: L; 1 for a stream of one layer.
        heads: H.
        compressed: width of keys and of values.
        outputs: width of the result.

    Raises:
        AvlocError: if the layers do not divide the width.

    >>> MultiHeadFactorizedPooling(12, layers=3, heads=2, outputs=5)(
    ...     torch.zeros(2, 19, 12), torch.ones(2, 19, dtype=torch.bool)
    ... ).shape
    torch.Size([2, 5])
    """

    def __init__(
        self, width: int, *, layers: int = 1, heads: int = 8, compressed: int = 32, outputs: int = 128
    ) -> None:
        super().__init__()
        if width % layers:
            raise AvlocError(f"layers must divide the width, got {layers} of {width}")
        self.outputs, self.layers = outputs, layers
        self.key_weights, self.value_weights = (nn.Parameter(torch.zeros(layers)) for _ in range(2))
        self.key, self.value = (nn.Linear(width // layers, compressed) for _ in range(2))
        self.attention = nn.Linear(compressed, heads)
        self.project = nn.Linear(heads * compressed, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        states = rearrange(x.masked_fill(~mask[..., None], 0), "b t (l c) -> b t l c", l=self.layers)
        key = self.key(torch.einsum("btlc,l->btc", states, self.key_weights.softmax(0)))
        value = self.value(torch.einsum("btlc,l->btc", states, self.value_weights.softmax(0)))
        weights = masked_softmax(self.attention(key), mask)  # B, T, H
        return self.project(torch.einsum("bth,btc->bhc", weights, value).flatten(1))
