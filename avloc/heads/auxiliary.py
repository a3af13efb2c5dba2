"""Steps' labels > labels of coarser frames, and of the part that a step has in its segment: (B, T, M) each.

Auxiliary losses on them ask the streams for more than the step's own label: the fakeness of frames of several lengths (Zhang et
al., "The PartialSpoof database", IEEE/ACM TASLP 2023), and the start, middle and end of a forged segment.

Legend: B batch, T steps, M modalities, C width, F steps of a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

PARTS = ("genuine", "start", "middle", "end", "unit")
"""The part that a step has in its segment; a unit is a forged segment of one step."""
FORGED_SHARE = 0.5


def coarse_labels(frame_labels: Tensor, factor: int) -> Tensor:
    """Give each step the label of its frame of `factor` steps, the largest one of the steps in it: (B, T, M).

    Args:
        frame_labels: (B, T, M) share of each step that is forged.
        factor: F; the last frame of a clip may be shorter.

    >>> coarse_labels(torch.tensor([0.0, 0.25, 0.0, 0.0, 1.0]).view(1, 5, 1), 2).flatten().tolist()
    [0.25, 0.25, 0.0, 0.0, 1.0]
    """
    return to_steps(split_frames(frame_labels, factor).amax(2), factor, frame_labels.shape[1])


def split_frames(values: Tensor, factor: int) -> Tensor:
    """Split steps into frames of `factor` steps; zeros fill the last one: (B, T, C) → (B, ceil(T / F), F, C).

    >>> split_frames(torch.tensor([1, 2, 3]).view(1, 3, 1), 2)[0, :, :, 0].tolist()
    [[1, 2], [3, 0]]
    """
    clips, steps, width = values.shape
    return pad(values, (0, 0, 0, -steps % factor)).reshape(clips, -(-steps // factor), factor, width)


def to_steps(frames: Tensor, factor: int, steps: int) -> Tensor:
    """Give each step the value of its frame: (B, ceil(T / F), C) → (B, T, C).

    >>> to_steps(torch.tensor([5, 6]).view(1, 2, 1), 2, 3).flatten().tolist()
    [5, 5, 6]
    """
    return frames.repeat_interleave(factor, 1)[:, :steps]


def part_labels(frame_labels: Tensor) -> Tensor:
    """Give each step the index of its part in `PARTS`: (B, T, M) int64.

    A step counts as forged from a share of `FORGED_SHARE` on.

    Args:
        frame_labels: (B, T, M) share of each step that is forged.

    >>> [PARTS[k] for k in part_labels(torch.tensor([0.7, 1.0, 0.9, 0.1, 1.0]).view(1, 5, 1)).flatten().tolist()]
    ['start', 'middle', 'end', 'genuine', 'unit']
    """
    forged = frame_labels >= FORGED_SHARE
    padded = pad(forged, (0, 0, 1, 1))
    after_genuine, before_genuine = ~padded[:, :-2], ~padded[:, 2:]
    parts = torch.full(forged.shape, PARTS.index("middle"), device=forged.device)
    parts[after_genuine] = PARTS.index("start")
    parts[before_genuine] = PARTS.index("end")
    parts[after_genuine & before_genuine] = PARTS.index("unit")
    return parts.masked_fill(~forged, PARTS.index("genuine"))
