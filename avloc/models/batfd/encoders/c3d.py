"""frames > 3-D convolutions > one vector per frame: BA-TFD's video encoder (after Tran et al., "C3D", ICCV 2015).

Legend: B batch, F frames, C width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool3d
from torch.utils.checkpoint import checkpoint

from avloc.errors import AvlocError
from avloc.models.blocks import SLOPE

# The convolutions behind which the picture shrinks, and by how much: 96 → 32 → 16 → 8 → 4 → 2 pixels.
POOLS = {1: 3, 3: 2, 5: 2, 6: 2, 7: 2}
REACH = 8  # frames on each side that a feature sees: one per convolution
CHUNK_FRAMES = 64  # without gradients, the first, full-size convolutions work on so many frames at a time


class C3D(nn.Module):
    """Video (B, 3, F, 96, 96) in [0, 1] > features (B, C, F).

    Clips are padded with black frames. A feature sees `REACH` frames on each side, so beyond that the padding's features are
    the same for all clips: where it is told how many frames are real, they are computed once for the weights at hand,
    not for every clip.

    Args:
        widths: of the four stages.
        width: C.
        checkpointed: keep only the stages' inputs for the gradients and compute the rest again.
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
        self._padding: tuple[object, list[Tensor], tuple[Tensor, Tensor]] | None = None

    def forward(self, video: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Encode; with `n_frames` (B,), frames from there on are taken to be zeros, and are not all computed."""
        length = video.shape[2]
        needed = length if n_frames is None else int(n_frames.max()) + 2 * REACH
        if needed + REACH >= length:
            return self._encode(video)
        own = self._encode(video[:, :, :needed])[..., : needed - REACH]
        inner, tail = self._padding_features(video)
        middle = inner.expand(len(video), -1, length - needed)
        return torch.cat([own, middle, tail.expand(len(video), -1, -1)], -1)

    def _encode(self, video: Tensor) -> Tensor:
        if video.device.type == "cpu":  # about twice as fast there
            video = video.contiguous(memory_format=torch.channels_last_3d)
        x = self._first(video)
        for stage in ((2, 3), (4, 5), (6, 7)):
            x = self._stage(x, *stage)
        return leaky_relu(self.project(rearrange(x, "b c f h w -> b (c h w) f")), SLOPE)

    def _first(self, video: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self._stage(video, 0, 1)
        parts = []
        for begin in range(0, video.shape[2], CHUNK_FRAMES):
            low, high = max(0, begin - 2), min(video.shape[2], begin + CHUNK_FRAMES + 2)
            part = self._stage(video[:, :, low:high], 0, 1)
            parts.append(part[:, :, begin - low : begin - low + CHUNK_FRAMES])
        return torch.cat(parts, 2)

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

    def _padding_features(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """What black frames give: within the padding (1, C, 1), and over its last `REACH` frames (1, C, REACH)."""
        kind = video.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (video.device, video.dtype, autocast)
        cached = None if torch.is_grad_enabled() else self._padding
        # The weights themselves are compared: not every way of changing them leaves a trace that can be asked for.
        if cached is not None and cached[0] == key and all(map(torch.equal, cached[1], self.parameters())):
            return cached[2]
        black = torch.zeros_like(video[:1, :, :1]).expand(-1, -1, 3 * REACH + 1, -1, -1)
        found = self._encode(black)
        features = found[..., REACH : REACH + 1], found[..., -REACH:]
        if not torch.is_grad_enabled():
            self._padding = (key, [p.detach().clone() for p in self.parameters()], features)
        return features
