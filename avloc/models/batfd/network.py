"""frames, log-mels > C3D, CNN > frame classifiers > a boundary map per modality > fusion: BA-TFD.

Cai et al., "Do You Really Mean That? Content Driven Audio-Visual Deepfake Dataset and Multimodal Method for Temporal Forgery
Localization", DICTA 2022. Deviations: the fold comes before the sampling, and the sampling is sparse (`boundary_module`: equal to
the published within rounding, many times faster); `sampling="proposal"` and `decoding="aligned"`, the defaults, mend the
published slips; released weights want `published` for the first. Cached features come in through projections.

Legend: B batch, C width, T frames, D durations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from avloc.heads.losses import map_error
from avloc.heads.maps import MapTargets
from avloc.models.batfd.boundary_module import BoundaryModule, MapFusion
from avloc.models.batfd.map_network import MapNetwork, MapOutput


class BATFD(MapNetwork):
    """Boundary-aware temporal forgery detection.

    Args:
        kwargs: see `MapNetwork`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        features = {"features": self.width + 1}
        maps: dict[str, Any] = {**features, "samples": self.samples, "widths": self.map_widths}
        self.video_boundaries, self.audio_boundaries = BoundaryModule(**maps), BoundaryModule(**maps)
        self.fusion = MapFusion(**features, durations=self.durations)

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        n_frames: Tensor | None = None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> MapOutput:
        """Run a batch.

        Args:
            video: (B, 3, T, 96, 96) in [0, 1], black behind a clip's end; or cached features (B, ≤ T, visual_dim).
            audio: (B, 64, 4T) log-mels; or cached features (B, ≤ T, audio_dim).
            n_frames: (B,) real frames of each clip. What lies behind all of them is then not computed, but for what
                they can see of it; the output holds zeros there. Over the real frames nothing changes.
            video_mask: (B, ≤ T) bool, the steps that have cached visual features; all by default.
            audio_mask: (B, ≤ T) bool.
        """
        streams = self.encode(video, audio, n_frames, video_mask, audio_mask, local_maps=True)
        v, a = streams.with_logits(self.frames)
        sampling = self.sample(streams.starts, v.device)
        video_map, audio_map = self.video_boundaries(v, sampling), self.audio_boundaries(a, sampling)
        near = (x[..., : streams.starts] for x in (v, a))
        maps = torch.stack([self.fusion(video_map, audio_map, *near), video_map, audio_map])  # 3, B, D, S
        length = streams.video.shape[-1]
        fused, video_map, audio_map = pad(maps, (0, max(0, length - streams.starts)))[..., :length]
        return MapOutput(
            fused, video_map, audio_map, streams.video_logits, streams.audio_logits, streams.video, streams.audio
        )

    @torch.inference_mode()
    def predict(self, video: Tensor, audio: Tensor, n_frames: Tensor | None = None, **masks: Tensor) -> MapOutput:
        """The published prediction step: the forward pass."""
        return self(video, audio, n_frames, **masks)

    def loss(self, output: MapOutput, targets: MapTargets) -> dict[str, Tensor]:
        """The terms of the loss, each the mean over clips of its mean over the clip's own frames, and their sum under `loss`."""
        wanted = (targets.fused_map, targets.modality_maps[:, 1], targets.modality_maps[:, 0])
        maps = (output.fused_map, output.video_map, output.audio_map)
        fused, video, audio = (map_error(a, b, targets.mask) for a, b in zip(maps, wanted, strict=True))
        terms = {"fused_map": fused, "video_map": video, "audio_map": audio}
        return self.total({**terms, **self.frame_terms(output, targets)})
