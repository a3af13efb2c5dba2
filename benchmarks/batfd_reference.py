"""The published computations of BA-TFD and BA-TFD+ in plain code: dense sampling, full attention matrices, Python lists.

`batfd.py` measures avloc beside them.

Legend: B batch, C width, T frames, D durations, N samples per cell.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from avloc.heads.map_nms import SoftNMS
from avloc.models.batfd.boundary_module import BoundaryModule
from avloc.models.batfd.boundary_sampling import Sampling
from avloc.models.batfd.plus import RelationModule


class MapSize(NamedTuple):
    """The size of a boundary map.

    Attributes:
        frames: T.
        durations: D.
        samples: N.
    """

    frames: int
    durations: int
    samples: int


PUBLISHED_SIZE = MapSize(512, 40, 10)


def dense_weights(size: MapSize = PUBLISHED_SIZE, kind: Sampling = "published") -> Tensor:
    """Sampling weights as a dense matrix (T, N·D·T), filled point by point."""
    frames, durations, samples = size
    weights = np.zeros((frames, samples, durations, frames), dtype=np.float32)
    for start in range(frames - 1):
        for d in range(min(frames - 1 - start, durations)):
            low, high = (start, d + 1) if kind == "published" else (start, start + d + 1)
            a, b = low - (high - low) / 2, high + (high - low) / 2
            for n in range(samples):
                x = a + n * (b - a) / (samples - 1)
                if 0 <= x <= frames - 1:
                    down, up = math.floor(x), math.ceil(x)
                    weights[down, n, d, start] += 1 - (x - down)
                    weights[up, n, d, start] += 1 - (up - x)
    return torch.from_numpy(weights.reshape(frames, -1))


def dense_trunk(
    module: BoundaryModule | RelationModule, features: Tensor, weights: Tensor, size: MapSize = PUBLISHED_SIZE
) -> Tensor:
    """`MapTrunk` with sampling before the fold: (B, C + 1, T) → (B, 128, D, T)."""
    trunk = module.trunk
    sampled = torch.matmul(features, weights).reshape(len(features), -1, size.samples, size.durations, size.frames)
    x = F.leaky_relu(F.conv3d(sampled, trunk.fold.weight[..., None, None], trunk.fold.bias)[:, :, 0], 0.01)
    x = F.leaky_relu(F.conv2d(x, trunk.squeeze.weight[..., None, None], trunk.squeeze.bias), 0.01)
    return F.leaky_relu(trunk.context(x), 0.01)


def dense_relation(module: RelationModule, features: Tensor, weights: Tensor, size: MapSize = PUBLISHED_SIZE) -> Tensor:
    """`RelationModule` with dense sampling and a full matrix of position attention: (B, C + 1, T) → (B, 3, D, T)."""
    relation = module.relation
    x = dense_trunk(module, features, weights, size)
    y = relation.position_in(x)
    attention = relation.position
    q = attention.query(y).flatten(2).transpose(1, 2)
    k, v = (F.max_pool2d(part(y), 2).flatten(2) for part in (attention.key, attention.value))
    matrix = torch.matmul(q, k).softmax(-1)  # B, D·T, D·T / 4
    y = y + attention.out(torch.matmul(matrix, v.transpose(1, 2)).transpose(1, 2).reshape(y.shape))
    position = relation.position_mid(y)
    channel = relation.channel_mid(relation.channel(relation.channel_in(x)))
    maps = [relation.position_out(position), relation.channel_out(channel), relation.both_out(position + channel)]
    return torch.cat(maps, 1).sigmoid()


def list_nms(scores: npt.NDArray[np.float64], hop_s: float, keep: int, settings: SoftNMS) -> list[list[float]]:
    """The published soft-NMS on lists: take the best proposal, compare it with all others, repeat.

    Args:
        scores: (T, W), the score of the segment from t to t + w + 1; -inf outside of the clip.
        hop_s: seconds per frame.
        keep: at most this many rows.
        settings: thresholds and decay.

    Returns:
        Rows of score, start and end in seconds.
    """
    starts, ends, values = [], [], []
    for t in range(scores.shape[0]):
        for w in range(scores.shape[1]):
            if scores[t, w] > -math.inf:
                starts.append(t * hop_s)
                ends.append((t + w + 1) * hop_s)
                values.append(float(scores[t, w]))
    kept: list[list[float]] = []
    while len(values) > 1 and len(kept) < keep:
        best = values.index(max(values))
        start, end, value = starts.pop(best), ends.pop(best), values.pop(best)
        limit = settings.low + (settings.high - settings.low) * (end - start)
        for k in range(len(values)):
            shared = max(0.0, min(end, ends[k]) - max(start, starts[k]))
            iou = shared / ((end - start) + (ends[k] - starts[k]) - shared)
            if iou > limit:
                values[k] *= math.exp(-(iou**2) / settings.alpha)
        kept.append([value, start, end])
    return kept


def loop_label(
    segments: npt.NDArray[np.float64], frames: int, steps: int, durations: int = PUBLISHED_SIZE.durations
) -> npt.NDArray[np.float32]:
    """A boundary map's label, cell by cell: each cell's highest IoU with a segment.

    Args:
        segments: (S, 2) in seconds, at 25 frames per second.
        frames: T, of the map.
        steps: frames of the clip.
        durations: D.
    """
    label = np.zeros((durations, frames), dtype=np.float32)
    for t in range(frames):
        for d in range(durations):
            if t + d <= steps:
                best = 0.0
                for start, end in segments * 25:
                    shared = max(0.0, min(end, t + d + 1) - max(start, t))
                    best = max(best, shared / (max(end, t + d + 1) - min(start, t)) if shared else 0.0)
                label[d, t] = best
    return label
