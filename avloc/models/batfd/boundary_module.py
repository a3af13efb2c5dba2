"""features > fold > sample > convolutions > boundary map: the trunk that BA-TFD and BA-TFD+ share.

The published code samples first, with a dense (T, N·D·T) matrix, and folds the N samples by a convolution. Both steps are
linear, so this code folds first, in N small products, and then samples by a sparse sum over them (`boundary_sampling`).

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

# Most cells of a map are 0. A map that starts higher overshoots in its first steps and gets stuck in the sigmoid's flat tail.
MAP_BIAS = -2.0
CHUNK_CELLS = 4096  # without gradients, cells are computed in chunks, so that the wide vectors never fill the memory


def single(x: Tensor) -> Tensor:
    """Convert half precision to single, for sums over many cells and for numbers near 0 and 1.

    >>> single(torch.zeros(1, dtype=torch.bfloat16)).dtype, single(torch.zeros(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def init_map_bias(out: nn.Conv2d) -> None:
    """Set the bias of a map's last convolution to `MAP_BIAS`."""
    assert out.bias is not None
    nn.init.constant_(out.bias, MAP_BIAS)


class SampleFold(nn.Module):
    """The weights that fold a cell's N samples to one vector: a (N, 1, 1) convolution of sampled features (B, C, N, D, S).

    Args:
        features: C.
        samples: N.
        width: H.

    >>> SampleFold(features=5, samples=3, width=4).table(torch.zeros(5, 19)).shape  # 3 samples of 19 frames
    torch.Size([57, 4])
    """

    def __init__(self, *, features: int, samples: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, features, samples))
        self.bias = nn.Parameter(torch.empty(width))
        bound = 1 / math.sqrt(features * samples)  # as nn.Conv3d does
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def table(self, features: Tensor) -> Tensor:
        """Multiply each frame with each sample's weights, without the bias: one clip (C, F) → (N·F, H)."""
        return torch.matmul(features.t(), self.weight.permute(2, 1, 0)).flatten(0, 1)


class MapTrunk(nn.Module):
    """Features (B, C, F) > fold, sample > 1×1 convolution > 3×3 convolution: (B, K, D, S).

    Args:
        features: C.
        samples: N.
        widths: H, K.

    >>> from avloc.models.batfd.boundary_sampling import cell_sampling
    >>> trunk = MapTrunk(features=5, samples=3, widths=(4, 2))
    >>> trunk(torch.zeros(1, 5, 19), cell_sampling(19, 6, 3, "proposal")).shape
    torch.Size([1, 2, 6, 19])
    """

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
        # Single precision under autocast too: a cell sums up to 2N numbers, and embedding_bag needs it.
        table = self.fold.table(features).float()
        if torch.is_grad_enabled():
            return self._squeeze(sampling(table))
        count = sampling.starts * sampling.durations
        chunks = []
        for begin in range(0, count, CHUNK_CELLS):
            chunks.append(self._squeeze(sampling.rows.slice(begin, min(begin + CHUNK_CELLS, count)) @ table))
        return torch.cat(chunks)

    def _squeeze(self, folded: Tensor) -> Tensor:
        """Sums without bias > cells: (cells, H) → (cells, K)."""
        return leaky_relu(self.squeeze(leaky_relu(folded + self.fold.bias, SLOPE)), SLOPE)


class BoundaryModule(nn.Module):
    """Features (B, C, F) > boundary map of BA-TFD (B, D, S), probabilities.

    Args:
        features: C.
        samples: N.
        widths: H, K.

    >>> from avloc.models.batfd.boundary_sampling import cell_sampling
    >>> module = BoundaryModule(features=5, samples=3, widths=(4, 2))
    >>> module(torch.zeros(1, 5, 19), cell_sampling(19, 6, 3, "proposal")).shape
    torch.Size([1, 6, 19])
    """

    def __init__(self, *, features: int, samples: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = MapTrunk(features=features, samples=samples, widths=widths)
        self.out = nn.Conv2d(widths[1], 1, 1)
        init_map_bias(self.out)

    def forward(self, features: Tensor, sampling: CellSampling) -> Tensor:
        return single(self.out(self.trunk(features, sampling)))[:, 0].sigmoid()


class FusionWeight(nn.Module):
    """The weight of one modality's map in the fusion, cell by cell: (B, D, S) in (0, 1).

    It depends on the modality's map (B, D, S) and features (B, C, S), and on the other modality's features (B, C, S).

    Args:
        features: C.
        durations: D.
    """

    def __init__(self, *, features: int, durations: int) -> None:
        super().__init__()
        self.from_own = nn.Conv1d(features, durations, 1)
        self.from_other = nn.Conv1d(features, durations, 1)
        self.from_map = nn.Conv1d(durations, durations, 1)

    def forward(self, modality_map: Tensor, features: Tensor, other_features: Tensor) -> Tensor:
        logits = self.from_map(modality_map) + self.from_own(features) + self.from_other(other_features)
        return single(logits / 3).sigmoid()


class MapFusion(nn.Module):
    """Two modalities' maps (B, D, S) > one, their mean weighted by attention: (B, D, S).

    Args:
        features: C.
        durations: D.

    >>> fusion = MapFusion(features=5, durations=6)
    >>> maps, features = torch.full((1, 6, 19), 0.25), torch.zeros(1, 5, 19)
    >>> fusion(maps, maps, features, features).unique().item()  # equal maps stay as they are
    0.25
    """

    def __init__(self, *, features: int, durations: int) -> None:
        super().__init__()
        self.video = FusionWeight(features=features, durations=durations)
        self.audio = FusionWeight(features=features, durations=durations)

    def forward(self, video_map: Tensor, audio_map: Tensor, video: Tensor, audio: Tensor) -> Tensor:
        """Fuse `video_map` and `audio_map` (B, D, S) by means of the features `video` and `audio` (B, C, S)."""
        video_weight = self.video(video_map, video, audio)
        audio_weight = self.audio(audio_map, audio, video)
        return (video_weight * video_map + audio_weight * audio_map) / (video_weight + audio_weight)
