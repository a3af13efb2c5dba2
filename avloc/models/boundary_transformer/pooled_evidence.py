"""Segments > means of a stream inside, around and beside each of them > scores: the second look of a point head.

A point sees a few steps around itself. Faint traces, as a vocoder leaves them in each step of a word, stand out only in the mean
over the whole word and against its neighbours. Lin et al., "BMN", ICCV 2019, pool each cell of a map this way; here each point
pools its own segment, which costs a fraction of it.

Legend: B batch, T steps, P points, C width, E channels of evidence, K parts of a segment and its surroundings.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

INSIDE_PARTS = 3
SHORTEST_CONTEXT_STEPS = 2.0
BOUNDARY_STEPS = 0.75  # to each side of a boundary
PARTS = INSIDE_PARTS + 4  # before, at the start, inside, at the end, behind


class Evidence(NamedTuple):
    """The second look at each segment.

    Attributes:
        logits: (B, P, outputs) to be added to the points' logits.
        offsets: (B, P, 2) of the start and the end, in steps.
    """

    logits: Tensor
    offsets: Tensor


class PooledEvidence(nn.Module):
    """Score segments by a stream's means in their parts: (B, T, C), (B, P, 2) → (B, P, outputs), (B, P, 2).

    Args:
        width: C.
        channels: E.
        outputs: scores per segment.

    >>> pooled = PooledEvidence(width=4, channels=3, outputs=1)
    >>> segments = torch.tensor([[[2.0, 5.5], [0.0, 19.0]]])
    >>> evidence = pooled(torch.zeros(1, 19, 4), torch.ones(1, 19, dtype=torch.bool), segments)
    >>> evidence.logits.shape, evidence.offsets.shape
    (torch.Size([1, 2, 1]), torch.Size([1, 2, 2]))
    """

    def __init__(self, *, width: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, channels)
        self.mix = nn.Linear(PARTS * channels + 1, width)
        self.out = nn.Linear(width, outputs + 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mask: Tensor, segments: Tensor) -> Evidence:
        """Score segments.

        Args:
            x: (B, T, C).
            mask: (B, T) bool, steps that count.
            segments: (B, P, 2) in steps from the beginning; they learn nothing from their scores.
        """
        segments = segments.detach()
        parts = interval_means(gelu(self.project(self.norm(x))), mask, segment_parts(segments))
        length = (segments[..., 1:] - segments[..., :1]).clamp_min(0.1).log()
        out = self.out(gelu(self.mix(torch.cat([parts.flatten(2), length.to(parts.dtype)], -1))))
        return Evidence(out[..., :-2], out[..., -2:].tanh())


def segment_parts(segments: Tensor) -> Tensor:
    """Return the parts of segments and of their surroundings, in steps: (B, P, 2) → (B, P, K, 2).

    Half a length before; around the start; equal parts inside; around the end; half a length behind.

    >>> segment_parts(torch.tensor([[[6.0, 12.0]]]))[0, 0].tolist()
    [[3.0, 6.0], [5.25, 6.75], [6.0, 8.0], [8.0, 10.0], [10.0, 12.0], [11.25, 12.75], [12.0, 15.0]]
    """
    start, end = segments[..., 0], segments[..., 1]
    context = ((end - start) / 2).clamp_min(SHORTEST_CONTEXT_STEPS)
    edges = [start + (end - start) * k / INSIDE_PARTS for k in range(INSIDE_PARTS + 1)]
    parts = [
        (start - context, start),
        (start - BOUNDARY_STEPS, start + BOUNDARY_STEPS),
        *itertools.pairwise(edges),
        (end - BOUNDARY_STEPS, end + BOUNDARY_STEPS),
        (end, end + context),
    ]
    return torch.stack([torch.stack(part, -1) for part in parts], -2)


def interval_means(values: Tensor, mask: Tensor, intervals: Tensor) -> Tensor:
    """Return the mean of a stream over each interval, by differences of its running sum.

    A step counts by the share of it that lies in the interval. Steps outside of the mask do not count; an interval without any
    other has mean 0.

    Args:
        values: (B, T, E), one per step.
        mask: (B, T) bool.
        intervals: (B, P, K, 2) start and end in steps.

    Returns:
        (B, P, K, E).
    """
    weight = mask.to(torch.float32)[..., None]
    integral = pad(torch.cat([values.float() * weight, weight], -1).cumsum(1), (0, 0, 1, 0))  # B, T + 1, E + 1
    # NaN is no index. It stays in the distances, which decoding refuses with one line.
    position = intervals.float().nan_to_num(0.0).clamp(0, values.shape[1]).flatten(1)  # B, P·K·2
    low = position.floor().long().clamp_max(values.shape[1] - 1)
    width = integral.shape[-1]
    at = low[..., None].expand(-1, -1, width)
    below, above = integral.gather(1, at), integral.gather(1, at + 1)
    edges = torch.lerp(below, above, (position - low)[..., None])
    edges = edges.reshape(*intervals.shape, width)  # B, P, K, 2, E + 1
    total = edges[..., 1, :] - edges[..., 0, :]
    return (total[..., :-1] / total[..., -1:].clamp_min(1e-3)).to(values.dtype)
