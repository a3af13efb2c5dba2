"""`BoundaryTransformer` on one stream alone: a localizer of forged sound, and one of forged picture.

Legend: B batch, R rows of a stream, D feature width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avloc.models import BoundaryTransformer


class AudioAlone(BoundaryTransformer):
    """The network without the picture: its rows (B, R, D) are masked, in training and afterwards."""

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor) -> Any:
        return super().forward(audio, torch.zeros_like(video), audio_mask, torch.zeros_like(video_mask), **times)


class VisualAlone(BoundaryTransformer):
    """The network without the sound: its rows (B, R, D) are masked, in training and afterwards."""

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor) -> Any:
        return super().forward(torch.zeros_like(audio), video, torch.zeros_like(audio_mask), video_mask, **times)
