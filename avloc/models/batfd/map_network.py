"""What BA-TFD and BA-TFD+ have in common: streams > encoders > frame classifiers > features for the maps; losses; decoding.

Legend: B batch, C width, T frames, D durations, M modalities (audio, visual).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.heads.losses import clip_mean, modality_contrast
from avloc.heads.maps import DECODINGS, MapDecoding, MapTargetMaker, MapTargets, decode_map
from avloc.models.batfd.boundary_sampling import SAMPLINGS, CellSampling, Sampling, first_starts
from avloc.models.batfd.encoders import PROJECTION
from avloc.models.batfd.encoders import audio_encoder as _audio_encoder
from avloc.models.batfd.encoders import video_encoder as _video_encoder


@dataclass(frozen=True)
class MapOutput:
    """What BA-TFD says of a batch. Frames behind all clips' ends may hold zeros.

    Attributes:
        fused_map: (B, D, T) probability that cell (d, t), the segment [t, t + d + 1), is forged.
        video_map: (B, D, T) the same of the picture alone.
        audio_map: (B, D, T) the same of the sound alone.
        video_logits: (B, T) whether each frame's picture is forged.
        audio_logits: (B, T) whether each frame's sound is.
        video_features: (B, C, T).
        audio_features: (B, C, T).
    """

    fused_map: Tensor
    video_map: Tensor
    audio_map: Tensor
    video_logits: Tensor
    audio_logits: Tensor
    video_features: Tensor
    audio_features: Tensor

    @property
    def step_logits(self) -> Tensor:
        """Fakeness of each frame, per modality: (B, T, M)."""
        return torch.stack([self.audio_logits, self.video_logits], -1)


class Streams(NamedTuple):
    """Both modalities' features (B, C, T) and frame logits (B, T), and how many of the T starts get a map."""

    video: Tensor
    audio: Tensor
    video_logits: Tensor
    audio_logits: Tensor
    starts: int

    def with_logits(self, steps: int) -> tuple[Tensor, Tensor]:
        """The features with the logit as one more channel, video's and audio's, up to `steps`: (B, C + 1, steps) each."""
        pairs = ((self.video, self.video_logits), (self.audio, self.audio_logits))
        both = [torch.cat([x, logits[:, None].to(x.dtype)], 1) for x, logits in pairs]
        return pad(both[0], (0, steps - both[0].shape[-1])), pad(both[1], (0, steps - both[1].shape[-1]))


class MapNetwork(nn.Module):
    """The base of `BATFD` and `BATFDPlus`: encoders, frame classifiers, the losses they share, decoding.

    Args:
        video_encoder: `c3d`, `mvit_t`, `mvit_s`, `mvit_b`, or `projection` for cached features.
        audio_encoder: `cnn`, `vit_t`, `vit_s`, `vit_b`, or `projection`.
        video_widths: of C3D's four stages.
        audio_widths: of the audio CNN's three stages; four times the last one must be `width`.
        visual_dim: width of the cached visual features, for `projection`.
        audio_dim: width of the cached audio features, for `projection`.
        audio_spectral_channels: for cached audio features on a frequency axis; see `avloc.models.blocks.Stem`.
        visual_grid_channels: for cached visual features on a grid of cells; the same.
        dropout: of the projections.
        width: C.
        map_widths: of the folded samples, and of the map's convolutions.
        samples: N, points that a cell looks at.
        frames: T, at most so many at once; pixels and log-mels must be of just so many.
        durations: D.
        sampling: `proposal`, or `published` as the released weights want it (`avloc.models.batfd.boundary_sampling`).
        decoding: `aligned`, `published` or `published_avdeepfake1m` (`avloc.heads.maps.decode_map`).
        checkpointed: encoders keep less for the gradients and compute it again.
        frame_loss_weight: of the frame classifiers' loss.
        modal_loss_weight: of the single modalities' maps.
        contrast_loss_weight: of the contrast between the modalities' features.
        contrast_margin: how far apart a forged clip's features shall be.

    Attributes:
        arguments: what it was made with; a checkpoint keeps them.
        target_maker: makes its targets.
        longest_steps: T.

    Raises:
        AvlocError: if the arguments do not go together.
    """

    def __init__(
        self,
        *,
        video_encoder: str = "c3d",
        audio_encoder: str = "cnn",
        video_widths: Sequence[int] = (64, 96, 128, 128),
        audio_widths: Sequence[int] = (32, 64, 64),
        visual_dim: int = 0,
        audio_dim: int = 0,
        audio_spectral_channels: int = 0,
        visual_grid_channels: int = 0,
        dropout: float = 0.1,
        width: int = 256,
        map_widths: Sequence[int] = (512, 128),
        samples: int = 10,
        frames: int = 512,
        durations: int = 40,
        sampling: Sampling = "proposal",
        decoding: MapDecoding = "aligned",
        checkpointed: bool = False,
        frame_loss_weight: float = 2.0,
        modal_loss_weight: float = 1.0,
        contrast_loss_weight: float = 0.1,
        contrast_margin: float = 0.99,
    ) -> None:
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if sampling not in SAMPLINGS or decoding not in DECODINGS:
            raise AvlocError(
                f"want sampling of {', '.join(SAMPLINGS)} and decoding of {', '.join(DECODINGS)}, "
                f"got {sampling!r} and {decoding!r}"
            )
        if (video_encoder == PROJECTION) != (audio_encoder == PROJECTION):
            raise AvlocError(f"want cached features for both encoders or none, got {video_encoder}, {audio_encoder}")
        if len(map_widths) != 2:
            raise AvlocError(f"want 2 map_widths, got {len(map_widths)}")
        self.width, self.map_widths, self.samples = width, (map_widths[0], map_widths[1]), samples
        self.frames, self.durations, self.sampling, self.decoding = frames, durations, sampling, decoding
        self.frame_loss_weight, self.modal_loss_weight = frame_loss_weight, modal_loss_weight
        self.contrast_loss_weight, self.contrast_margin = contrast_loss_weight, contrast_margin
        self.longest_steps, self.target_maker = frames, MapTargetMaker(durations)
        self.cached_features = video_encoder == PROJECTION
        make: dict[str, Any] = {"width": width, "frames": frames, "checkpointed": checkpointed, "dropout": dropout}
        self.video_encoder = _video_encoder(
            video_encoder, widths=video_widths, features=visual_dim, grid_channels=visual_grid_channels, **make
        )
        self.audio_encoder = _audio_encoder(
            audio_encoder, widths=audio_widths, features=audio_dim, spectral_channels=audio_spectral_channels, **make
        )
        self.video_classifier, self.audio_classifier = nn.Conv1d(width, 1, 1), nn.Conv1d(width, 1, 1)

    def sample(self, starts: int, device: torch.device) -> CellSampling:
        """Which frames the cells of the first starts look at."""
        return first_starts(starts, self.frames, self.durations, self.samples, self.sampling, str(device))

    def encode(
        self,
        video: Tensor,
        audio: Tensor,
        n_frames: Tensor | None,
        video_mask: Tensor | None,
        audio_mask: Tensor | None,
        *,
        local_maps: bool,
    ) -> Streams:
        """Both streams > features and frame logits. With `local_maps` maps are wanted for the clips' own starts only."""
        if self.cached_features:
            return self._encode_cached(video, audio, video_mask, audio_mask, local_maps)
        length = video.shape[2]
        if length != self.frames or audio.shape[2] != 4 * self.frames:
            raise AvlocError(
                f"want video of {self.frames} frames and audio of {4 * self.frames} steps, got {length} and {audio.shape[2]}"
            )
        v, a = self.video_encoder(video, n_frames), self.audio_encoder(audio)
        # A cell's neighbours reach a start further than it does itself.
        starts = length if n_frames is None or not local_maps else min(length, int(n_frames.max()) + 1)
        return Streams(v, a, self.video_classifier(v)[:, 0], self.audio_classifier(a)[:, 0], starts)

    def _encode_cached(
        self, video: Tensor, audio: Tensor, video_mask: Tensor | None, audio_mask: Tensor | None, local_maps: bool
    ) -> Streams:
        length = video.shape[1]
        if length != audio.shape[1] or length > self.frames:
            raise AvlocError(
                f"want video and audio features of equal length, at most {self.frames} steps, "
                f"got {length} and {audio.shape[1]}"
            )
        everywhere = torch.ones(video.shape[:2], dtype=torch.bool, device=video.device)
        masks = [everywhere if mask is None else mask for mask in (video_mask, audio_mask)]
        v, a = self.video_encoder(video, masks[0]), self.audio_encoder(audio, masks[1])
        # Nothing of what lies past a clip may depend on how far its batch is padded: zeros, the logits included.
        inside = masks[0] | masks[1]
        starts = min(self.frames, length + 1) if local_maps else self.frames
        return Streams(v, a, self.video_classifier(v)[:, 0] * inside, self.audio_classifier(a)[:, 0] * inside, starts)

    def frame_terms(self, output: MapOutput, targets: MapTargets) -> dict[str, Tensor]:
        """The losses that both networks have: of the frame logits, and the contrast between the modalities."""
        mask = targets.mask
        audio, video = (
            clip_mean(binary_cross_entropy_with_logits(logits.float(), labels, reduction="none"), mask)
            for logits, labels in zip((output.audio_logits, output.video_logits), targets.frame_labels.unbind(1), strict=True)
        )  # fmt: skip
        size = self.width * self.frames
        features = output.audio_features.float(), output.video_features.float()
        apart = modality_contrast(*features, targets.is_fake, mask, self.contrast_margin)
        return {"video_frame": video, "audio_frame": audio, "contrast": (apart / size).clamp_max(1.0)}

    def total(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """All terms, and their weighted sum under `loss`. The contrast is divided by C·T twice, as published: almost off."""
        maps = terms["fused_map"] + self.modal_loss_weight * (terms["video_map"] + terms["audio_map"]) / 2
        frames = self.frame_loss_weight * (terms["video_frame"] + terms["audio_frame"]) / 2
        contrast = self.contrast_loss_weight / (self.width * self.frames) * terms["contrast"]
        return {**terms, "loss": maps + frames + contrast}

    def decode(self, output: MapOutput, grids: Sequence[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """Proposals of each clip of a batch, after soft-NMS, at most `keep`, sorted by falling score.

        Args:
            output: of a batch.
            grids: each clip's own clock.
            keep: rows at the most.
        """
        fused, audio, video = (
            x.detach().float().cpu().numpy() for x in (output.fused_map, output.audio_map, output.video_map)
        )
        boundaries = self.boundaries(output)
        ends = None if boundaries is None else boundaries.detach().float().cpu().numpy()
        return [
            decode_map(
                fused[b], grid, decoding=self.decoding, modality_scores=np.stack([audio[b], video[b]]),
                boundaries=None if ends is None else ends[b, :, : grid.length if self.cached_features else None], keep=keep,
            )
            for b, grid in enumerate(grids)
        ]  # fmt: skip

    def boundaries(self, output: Any) -> Tensor | None:
        """The start and end probabilities (B, 2, T) that weight the map's cells; none here."""
        return None
