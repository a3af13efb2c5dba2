"""features > fold > sample > convolutions > boundary map: the part that BA-TFD and BA-TFD+ share.

The published code samples first, with a dense (T, N·D·T) matrix, and folds the N samples by a convolution. Both are linear, so
here the fold comes first, N small products, and sampling is a sparse sum over them (`boundary_sampling`).

Legend: B batch, C width of the features, F frames, S starts, D durations, N samples, H, K widths of the map.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from avloc.models.batfd.boundary_sampling import CellSampling
from avloc.models.blocks import SLOPE

# A map's first bias: most cells are 0, and an output that overshoots that in the first steps has no slope to come back by.
RARE = -2.0
CHUNK_CELLS = 4096  # without gradients, cells are worked on in parts: the wide ones are never all in memory


def single(x: Tensor) -> Tensor:
    """At least single precision, for what half would spoil: sums over cells, and numbers near 0 and 1."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def start_rare(out: nn.Conv2d) -> None:
    """Set a map's first bias."""
    assert out.bias is not None
    nn.init.constant_(out.bias, RARE)


class SampleFold(nn.Module):
    """Features (B, C, F) > what each cell sees, N samples folded to one vector, before its bias: (B, S·D, H).

    The same as a (N, 1, 1) convolution of the sampled features (B, C, N, D, S).
    """

    def __init__(self, *, features: int, samples: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, features, samples))
        self.bias = nn.Parameter(torch.empty(width))
        bound = 1 / math.sqrt(features * samples)  # as nn.Conv3d does
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def table(self, features: Tensor) -> Tensor:
        """Each sample's fold of each frame: one clip (C, F) → (N·F, H)."""
        return torch.matmul(features.t(), self.weight.permute(2, 1, 0)).flatten(0, 1)


class MapTrunk(nn.Module):
    """Features (B, C, F) > fold, sample > 1×1 convolution > 3×3 convolution: (B, K, D, S)."""

    def __init__(self, *, features: int, samples: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.fold = SampleFold(features=features, samples=samples, width=widths[0])
        self.squeeze = nn.Linear(*widths)  # a 1×1 convolution, on cells
        self.context = nn.Conv2d(widths[1], widths[1], 3, padding=1)

    def forward(self, features: Tensor, sampling: CellSampling) -> Tensor:
        cells = torch.stack([self._cells(clip, sampling) for clip in features])  # B, S·D, K
        x = rearrange(cells, "b (s d) k -> b k d s", d=sampling.durations)
        return leaky_relu(self.context(x), SLOPE)

    def _cells(self, features: Tensor, sampling: CellSampling) -> Tensor:
        """One clip (C, F) → (S·D, K)."""
        # Under autocast too: sums of up to 2N numbers, and embedding_bag wants single precision.
        table = self.fold.table(features).float()
        if torch.is_grad_enabled():
            return self._squeezed(sampling(table))
        count = sampling.starts * sampling.durations
        parts = []
        for begin in range(0, count, CHUNK_CELLS):
            parts.append(self._squeezed(sampling.rows.part(begin, min(begin + CHUNK_CELLS, count)) @ table))
        return torch.cat(parts)

    def _squeezed(self, folded: Tensor) -> Tensor:
        return leaky_relu(self.squeeze(leaky_relu(folded + self.fold.bias, SLOPE)), SLOPE)


class BoundaryModule(nn.Module):
    """Features (B, C, F) > boundary map of BA-TFD (B, D, S), probabilities."""

    def __init__(self, *, features: int, samples: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = MapTrunk(features=features, samples=samples, widths=widths)
        self.out = nn.Conv2d(widths[1], 1, 1)
        start_rare(self.out)

    def forward(self, features: Tensor, sampling: CellSampling) -> Tensor:
        return single(self.out(self.trunk(features, sampling)))[:, 0].sigmoid()


class FusionWeight(nn.Module):
    """How much one modality's map counts, each cell for itself: (B, D, S), positive.

    Of its own map and features, and of the other modality's features.
    """

    def __init__(self, *, features: int, durations: int) -> None:
        super().__init__()
        self.from_own = nn.Conv1d(features, durations, 1)
        self.from_other = nn.Conv1d(features, durations, 1)
        self.from_map = nn.Conv1d(durations, durations, 1)

    def forward(self, own_map: Tensor, own: Tensor, other: Tensor) -> Tensor:
        return single((self.from_map(own_map) + self.from_own(own) + self.from_other(other)) / 3).sigmoid()


class MapFusion(nn.Module):
    """Two modalities' maps (B, D, S) > one, their mean weighted by attention: (B, D, S)."""

    def __init__(self, *, features: int, durations: int) -> None:
        super().__init__()
        self.video = FusionWeight(features=features, durations=durations)
        self.audio = FusionWeight(features=features, durations=durations)

    def forward(self, video_map: Tensor, audio_map: Tensor, video: Tensor, audio: Tensor) -> Tensor:
        of_video = self.video(video_map, video, audio)
        of_audio = self.audio(audio_map, audio, video)
        return (of_video * video_map + of_audio * audio_map) / (of_video + of_audio)
