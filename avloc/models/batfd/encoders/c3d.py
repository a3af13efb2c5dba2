"""frames > 3-D convolutions > one vector per frame: BA-TFD's video encoder (after Tran et al., "C3D", ICCV 2015).

Legend: B batch, F frames, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool3d
from torch.utils.checkpoint import checkpoint

from avloc.errors import AvlocError
from avloc.models.blocks import SLOPE

POOLS = {1: 3, 3: 2, 5: 2, 6: 2, 7: 2}
"""By convolution, the spatial pooling after it: 96 → 32 → 16 → 8 → 4 → 2 pixels."""
CONTEXT_FRAMES = 8  # on each side of a feature: one per convolution
CHUNK_FRAMES = 64  # without gradients, the first, full-size convolutions run on chunks of this many frames


class _PaddingKey(NamedTuple):
    """Everything but the weights that the features of padding depend on."""

    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype | None


class _PaddingFeatures(NamedTuple):
    """Features of black frames: within the padding (1, C, 1), and of its last `CONTEXT_FRAMES` frames."""

    inner: Tensor
    tail: Tensor


class _PaddingCache(NamedTuple):
    key: _PaddingKey
    weights: list[Tensor]
    features: _PaddingFeatures


class C3D(nn.Module):
    """Video (B, 3, F, 96, 96) in [0, 1] > features (B, C, F).

    Clips are padded with black frames. A feature sees `CONTEXT_FRAMES` frames on each side, so further into the padding the
    features are equal for all clips. With the number of real frames, `forward` computes those once per state of the weights
    instead of for every clip.

    Args:
        widths: of the four stages.
        width: C.
        checkpointed: in training, keep only the stages' inputs and compute the activations a second time in the backward pass.

    Raises:
        AvlocError: if the number of widths is wrong.

    >>> C3D(widths=(1, 2, 2, 1), width=4)(torch.zeros(1, 3, 5, 96, 96)).shape
    torch.Size([1, 4, 5])
    """

    def __init__(
        self, *, widths: Sequence[int] = (64, 96, 128, 128), width: int = 256, checkpointed: bool = False
    ) -> None:
        super().__init__()
        if len(widths) != 4:
            raise AvlocError(f"C3D has 4 stages, got {len(widths)} widths")
        a, b, c, d = widths
        sizes = [(3, a), (a, a), (a, b), (b, b), (b, c), (c, c), (c, d), (d, d)]
        self.convs = nn.ModuleList(nn.Conv3d(i, o, 3, padding=1) for i, o in sizes)
        self.project = nn.Conv1d(4 * d, width, 1)
        self.width, self.checkpointed = width, checkpointed
        self._padding: _PaddingCache | None = None

    def forward(self, video: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            video: (B, 3, F, 96, 96).
            n_frames: (B,) number of real frames of each clip. The frames after them must be black; most of their features
                are then not computed.
        """
        length = video.shape[2]
        needed = length if n_frames is None else int(n_frames.max()) + 2 * CONTEXT_FRAMES
        if needed + CONTEXT_FRAMES >= length:
            return self._encode(video)
        real = self._encode(video[:, :, :needed])[..., : needed - CONTEXT_FRAMES]
        inner, tail = self._padding_features(video)
        middle = inner.expand(len(video), -1, length - needed)
        return torch.cat([real, middle, tail.expand(len(video), -1, -1)], -1)

    def _encode(self, video: Tensor) -> Tensor:
        if video.device.type == "cpu":  # about twice as fast there
            video = video.contiguous(memory_format=torch.channels_last_3d)
        x = self._first(video)
        for stage in ((2, 3), (4, 5), (6, 7)):
            x = self._stage(x, *stage)
        return leaky_relu(self.project(rearrange(x, "b c f h w -> b (c h w) f")), SLOPE)

    def _first(self, video: Tensor) -> Tensor:
        """Run the first stage, in chunks if no gradients are needed: (B, 3, F, 96, 96) → (B, a, F, 32, 32)."""
        if torch.is_grad_enabled():
            return self._stage(video, 0, 1)
        chunks = []
        for begin in range(0, video.shape[2], CHUNK_FRAMES):
            low, high = max(0, begin - 2), min(video.shape[2], begin + CHUNK_FRAMES + 2)
            chunk = self._stage(video[:, :, low:high], 0, 1)
            chunks.append(chunk[:, :, begin - low : begin - low + CHUNK_FRAMES])
        return torch.cat(chunks, 2)

    def _stage(self, x: Tensor, *convs: int) -> Tensor:
        def run(x: Tensor) -> Tensor:
            for k in convs:
                x = leaky_relu(self.convs[k](x), SLOPE, inplace=True)
                if k in POOLS:
                    x = max_pool3d(x, (1, POOLS[k], POOLS[k]))
            return x

        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(run, x, use_reentrant=False)
        return run(x)

    def _padding_features(self, video: Tensor) -> _PaddingFeatures:
        """Return the features of black frames, from the cache if the weights have not changed."""
        kind = video.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = _PaddingKey(video.device, video.dtype, autocast)
        cached = None if torch.is_grad_enabled() else self._padding
        # Compare the weights themselves: some ways of changing them do not raise their version counter.
        if cached is not None and cached.key == key and all(map(torch.equal, cached.weights, self.parameters())):
            return cached.features
        black = torch.zeros_like(video[:1, :, :1]).expand(-1, -1, 3 * CONTEXT_FRAMES + 1, -1, -1)
        encoded = self._encode(black)
        features = _PaddingFeatures(encoded[..., CONTEXT_FRAMES : CONTEXT_FRAMES + 1], encoded[..., -CONTEXT_FRAMES:])
        if not torch.is_grad_enabled():
            self._padding = _PaddingCache(key, [p.detach().clone() for p in self.parameters()], features)
        return features
