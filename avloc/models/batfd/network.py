"""frames, log-mels > C3D, CNN > frame classifiers > a boundary map per modality > fusion: BA-TFD.

Cai et al., "Do You Really Mean That? Content Driven Audio-Visual Deepfake Dataset and Multimodal Method for Temporal Forgery
Localization", DICTA 2022. Deviations: the samples are folded before they are drawn, and drawn sparsely (`boundary_module`: equal
to the published code within rounding, many times faster); the defaults `sampling="proposal"` and `decoding="aligned"` correct
slips of the published code; released weights need `sampling="published"`. Cached features enter through projections.

Legend: B batch, C width, T frames, D durations.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from avloc.heads.losses import map_error
from avloc.heads.maps import MapTargets
from avloc.models.batfd.boundary_module import BoundaryModule, MapFusion
from avloc.models.batfd.map_network import MapNetwork, MapOutput, StreamTimes


class BATFD(MapNetwork):
    """Boundary-aware temporal forgery detection.

    Args:
        kwargs: see `MapNetwork`.

    >>> cached = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}
    >>> network = BATFD(**cached, width=4, map_widths=(6, 3), samples=3, frames=32, durations=6).eval()
    >>> network(video=torch.zeros(2, 19, 5), audio=torch.zeros(2, 19, 7)).fused_map.shape
    torch.Size([2, 6, 19])
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        features = self.width + 1
        module = partial(BoundaryModule, features=features, samples=self.samples, widths=self.map_widths)
        self.video_boundaries, self.audio_boundaries = module(), module()
        self.fusion = MapFusion(features=features, durations=self.durations)

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        n_frames: Tensor | None = None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
        audio_phase: Tensor | None = None,
        video_phase: Tensor | None = None,
        step_mask: Tensor | None = None,
    ) -> MapOutput:
        """Run a batch.

        Args:
            video: (B, 3, T, 96, 96) in [0, 1], black after a clip's end; or cached features (B, ≤ T, visual_dim).
            audio: (B, 64, 4T) log-mels; or cached features (B, ≤ T, audio_dim).
            n_frames: (B,) number of real frames of each clip. Saves the computation of starts after all clips' ends; the maps are
                zero there. The output over real frames does not change.
            video_mask: (B, ≤ T) bool, True for steps with cached visual features; None: all steps.
            audio_mask: (B, ≤ T) bool.
            audio_phase: of cached features at their own rate (`avloc.datasets.loading.batch.StreamInputs`).
            video_phase: of cached features at their own rate.
            step_mask: of cached features at their own rate.

        Raises:
            AvlocError: if the lengths do not fit the network or each other.
        """
        times = StreamTimes(audio_phase, video_phase, step_mask)
        streams = self.encode(video, audio, n_frames, video_mask, audio_mask, times=times, local_maps=True)
        v, a = streams.with_logits(self.frames)
        sampling = self.sample(streams.starts, v.device)
        video_map, audio_map = self.video_boundaries(v, sampling), self.audio_boundaries(a, sampling)
        features = (x[..., : streams.starts] for x in (v, a))
        maps = torch.stack([self.fusion(video_map, audio_map, *features), video_map, audio_map])  # 3, B, D, S
        length = streams.video.shape[-1]
        fused, video_map, audio_map = pad(maps, (0, max(0, length - streams.starts)))[..., :length]
        return MapOutput(
            fused, video_map, audio_map, streams.video_logits, streams.audio_logits, streams.video, streams.audio
        )

    @torch.inference_mode()
    def predict(self, video: Tensor, audio: Tensor, n_frames: Tensor | None = None, **masks: Tensor) -> MapOutput:
        """Run the published prediction step: the forward pass without gradients."""
        return self(video, audio, n_frames, **masks)

    def loss(self, output: MapOutput, targets: MapTargets) -> dict[str, Tensor]:
        """Return the terms of the loss, and their weighted sum under `loss`.

        Each term is averaged over a clip's own frames first, then over the clips.
        """
        target_maps = (targets.fused_map, targets.modality_maps[:, 1], targets.modality_maps[:, 0])
        maps = (output.fused_map, output.video_map, output.audio_map)
        fused, video, audio = (map_error(a, b, targets.mask) for a, b in zip(maps, target_maps, strict=True))
        terms = {"fused_map": fused, "video_map": video, "audio_map": audio}
        return self.total({**terms, **self.frame_terms(output, targets)})
