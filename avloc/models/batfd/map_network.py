"""streams > encoders > frame classifiers > features for the maps; losses; decoding: the base of BA-TFD and BA-TFD+.

Legend: B batch, C width, T frames, D durations, M modalities (audio, visual).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.heads.losses import clip_mean, modality_contrast
from avloc.heads.maps import DECODINGS, MapDecoding, MapTargetMaker, MapTargets, decode_map
from avloc.models.batfd.boundary_sampling import SAMPLINGS, CellSampling, Sampling, first_starts
from avloc.models.batfd.encoders.catalog import (
    PROJECTION,
    EncoderOptions,
    build_audio_encoder,
    build_video_encoder,
)
from avloc.models.front_ends.catalog import check_front_end_options, find_front_end
from avloc.models.stream_clock import stream_clocks


@dataclass(frozen=True)
class MapOutput:
    """Output of BA-TFD for a batch. Frames after the end of the longest clip may hold zeros.

    Attributes:
        fused_map: (B, D, T) probability that cell (d, t), the segment [t, t + d + 1), is forged.
        video_map: (B, D, T) that probability for the visual stream alone.
        audio_map: (B, D, T) that probability for the audio stream alone.
        video_logits: (B, T) fakeness of each frame's picture.
        audio_logits: (B, T) fakeness of each frame's audio.
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


class StreamTimes(NamedTuple):
    """Times of cached features at their own rate (`avloc.datasets.loading.batch.StreamInputs`).

    Attributes:
        audio_phase: (B,); None if rows are steps.
        video_phase: (B,).
        step_mask: (B, T) bool.
    """

    audio_phase: Tensor | None = None
    video_phase: Tensor | None = None
    step_mask: Tensor | None = None


ROWS_ARE_STEPS = StreamTimes()


class Streams(NamedTuple):
    """Encoded modalities.

    Attributes:
        video: (B, C, T) features.
        audio: (B, C, T) features.
        video_logits: (B, T) fakeness of each frame.
        audio_logits: (B, T) fakeness of each frame.
        starts: number of starts that the maps are computed for, at most T.
    """

    video: Tensor
    audio: Tensor
    video_logits: Tensor
    audio_logits: Tensor
    starts: int

    def with_logits(self, steps: int) -> tuple[Tensor, Tensor]:
        """Return both features with their logits as another channel, zero-padded to `steps`: (B, C + 1, steps) each."""
        pairs = ((self.video, self.video_logits), (self.audio, self.audio_logits))
        both = [torch.cat([x, logits[:, None].to(x.dtype)], 1) for x, logits in pairs]
        return pad(both[0], (0, steps - both[0].shape[-1])), pad(both[1], (0, steps - both[1].shape[-1]))


class MapNetwork(nn.Module):
    """Base of `BATFD` and `BATFDPlus`: encoders, frame classifiers, shared losses, decoding.

    Args:
        video_encoder: `c3d`, `mvit_t`, `mvit_s`, `mvit_b`, or `projection` for cached features.
        audio_encoder: `cnn`, `vit_t`, `vit_s`, `vit_b`, or `projection`.
        video_widths: of C3D's four stages.
        audio_widths: of the audio CNN's three stages; four times the last one must be `width`.
        visual_dim: width of the cached visual features, for `projection`.
        audio_dim: width of the cached audio features, for `projection`.
        audio_spectral_channels: for cached audio features on a frequency axis (`avloc.models.stems.Stem`).
        audio_spectral_differences: give them the steps in time and frequency too (`avloc.models.stems.Stem`).
        visual_grid_channels: for cached visual features on a grid of cells (`avloc.models.stems.Stem`).
        audio_rows_per_step: for cached audio features at their own rate (`avloc.models.stems.Stem`).
        visual_rows_per_step: for cached visual features at their own rate.
        audio_front_end: with `projection`, a network that learns its own features from the sound (`avloc.models.front_ends`).
        visual_front_end: the same from mouth crops.
        audio_front_end_options: arguments of the front end's class by name.
        visual_front_end_options: the same of the visual one.
        dropout: of the projections.
        width: C.
        map_widths: of the folded samples, and of the map's convolutions.
        samples: N, points that each cell samples.
        frames: T. Cached features may have at most T steps; pixels and log-mels must have exactly T frames.
        durations: D, the longest segment in frames.
        sampling: `proposal`, or `published` for the released weights (`avloc.models.batfd.boundary_sampling`).
        decoding: `aligned`, `published` or `published_avdeepfake1m` (`avloc.heads.maps.decode_map`).
        checkpointed: save memory in training: the encoders compute activations a second time in the backward pass.
        frame_loss_weight: of the frame classifiers' loss.
        modal_loss_weight: of the single modalities' maps.
        contrast_loss_weight: of the contrast between the modalities' features.
        contrast_margin: distance beyond which a forged clip's features add no contrast loss.

    Attributes:
        arguments: the constructor's keyword arguments, kept by checkpoints.
        target_maker: turns a clip's labels into `MapTargets`.
        cached_features: True with the encoders `projection`, False for pixels and log-mels.
        longest_steps: T.
        longest_segment_steps: D.

    Raises:
        AvlocError: if the arguments do not fit together.

    >>> network = MapNetwork(video_encoder="projection", audio_encoder="projection", visual_dim=5, audio_dim=7, width=4)
    >>> network.cached_features, network.longest_steps, network.longest_segment_steps
    (True, 512, 40)
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
        audio_spectral_differences: bool = False,
        visual_grid_channels: int = 0,
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
        audio_front_end: str = "",
        visual_front_end: str = "",
        audio_front_end_options: Mapping[str, Any] | None = None,
        visual_front_end_options: Mapping[str, Any] | None = None,
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
        _check_arguments(self.arguments)
        self.width, self.map_widths, self.samples = width, (map_widths[0], map_widths[1]), samples
        self.frames, self.durations, self.sampling, self.decoding = frames, durations, sampling, decoding
        self.frame_loss_weight, self.modal_loss_weight = frame_loss_weight, modal_loss_weight
        self.contrast_loss_weight, self.contrast_margin = contrast_loss_weight, contrast_margin
        self.longest_steps, self.longest_segment_steps = frames, durations
        self.target_maker = MapTargetMaker(durations)
        self.cached_features = video_encoder == PROJECTION
        options = partial(EncoderOptions, width=width, frames=frames, dropout=dropout, checkpointed=checkpointed)
        video_options = options(
            widths=video_widths,
            features=visual_dim,
            grid_channels=visual_grid_channels,
            rows_per_step=visual_rows_per_step,
            front_end=visual_front_end,
            front_end_options=visual_front_end_options,
        )
        audio_options = options(
            widths=audio_widths,
            features=audio_dim,
            spectral_channels=audio_spectral_channels,
            spectral_differences=audio_spectral_differences,
            rows_per_step=audio_rows_per_step,
            front_end=audio_front_end,
            front_end_options=audio_front_end_options,
        )
        self.video_encoder = build_video_encoder(video_encoder, video_options)
        self.audio_encoder = build_audio_encoder(audio_encoder, audio_options)
        for modality in MODALITIES:
            name = self.arguments[f"{modality}_front_end"]
            if name and not self.cached_features:
                raise AvlocError(f"{modality}_front_end={name} needs the encoders projection, got {video_encoder}")
            front_end = find_front_end(self, modality)
            if front_end is not None:  # complete, without paths, so that they make the same again
                self.arguments[f"{modality}_front_end_options"] = dict(front_end.options)
        self.video_classifier, self.audio_classifier = nn.Conv1d(width, 1, 1), nn.Conv1d(width, 1, 1)

    def sample(self, starts: int, device: torch.device) -> CellSampling:
        """Return the sampling of the cells with the first `starts` starts."""
        return first_starts(starts, self.frames, self.durations, self.samples, self.sampling, str(device))

    def encode(
        self,
        video: Tensor,
        audio: Tensor,
        n_frames: Tensor | None,
        video_mask: Tensor | None,
        audio_mask: Tensor | None,
        *,
        times: StreamTimes = ROWS_ARE_STEPS,
        local_maps: bool,
    ) -> Streams:
        """Encode both streams to features and frame logits.

        Args:
            video: see `BATFD.forward`.
            audio: see `BATFD.forward`.
            n_frames: see `BATFD.forward`.
            video_mask: see `BATFD.forward`.
            audio_mask: see `BATFD.forward`.
            times: of streams at their own rate.
            local_maps: compute maps for starts within the clips only. False for maps whose cells all depend on each other.

        Raises:
            AvlocError: if the lengths do not fit the network or each other.
        """
        if self.cached_features:
            return self._encode_cached((video, audio), (video_mask, audio_mask), times, local_maps)
        length = video.shape[2]
        if length != self.frames or audio.shape[2] != 4 * self.frames:
            raise AvlocError(
                f"want video of {self.frames} frames and audio of {4 * self.frames} steps, got {length} and {audio.shape[2]}"
            )
        v, a = self.video_encoder(video, n_frames), self.audio_encoder(audio)
        # The map's 3×3 convolution sees one start further.
        starts = length if n_frames is None or not local_maps else min(length, int(n_frames.max()) + 1)
        return Streams(v, a, self.video_classifier(v)[:, 0], self.audio_classifier(a)[:, 0], starts)

    def _encode_cached(
        self, streams: tuple[Tensor, Tensor], masks: Sequence[Tensor | None], times: StreamTimes, local_maps: bool
    ) -> Streams:
        """Encode cached features: of video and audio, (B, R, D) each."""
        video, audio = streams
        arguments = self.arguments
        audio_clock, video_clock = stream_clocks(
            arguments, (audio, times.audio_phase), (video, times.video_phase), times.step_mask
        )
        video_mask, audio_mask = (
            torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
            for x, mask in zip(streams, masks, strict=True)
        )
        inside = video_clock.step_mask(video_mask) | audio_clock.step_mask(audio_mask)
        length = inside.shape[1]
        if length > self.frames:
            raise AvlocError(f"want cached features of at most {self.frames} steps, got {length}")
        v, a = self.video_encoder(video, video_mask, video_clock), self.audio_encoder(audio, audio_mask, audio_clock)
        # Zeros after a clip, logits included: its results must not depend on the length of its batch.
        starts = min(self.frames, length + 1) if local_maps else self.frames
        return Streams(v, a, self.video_classifier(v)[:, 0] * inside, self.audio_classifier(a)[:, 0] * inside, starts)

    def frame_terms(self, output: MapOutput, targets: MapTargets) -> dict[str, Tensor]:
        """Return the loss terms of the frame classifiers, and of the contrast between the modalities."""
        mask = targets.mask
        frame_logits = (output.audio_logits, output.video_logits)
        audio, video = (
            clip_mean(binary_cross_entropy_with_logits(logits.float(), labels, reduction="none"), mask)
            for logits, labels in zip(frame_logits, targets.frame_labels.unbind(1), strict=True)
        )
        size = self.width * self.frames
        features = output.audio_features.float(), output.video_features.float()
        contrast = modality_contrast(*features, targets.is_fake, mask, self.contrast_margin)
        return {"video_frame": video, "audio_frame": audio, "contrast": (contrast / size).clamp_max(1.0)}

    def total(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the weighted sum of the terms under `loss`.

        As in the published code, the contrast is divided by C·T twice, which almost removes it.
        """
        maps = terms["fused_map"] + self.modal_loss_weight * (terms["video_map"] + terms["audio_map"]) / 2
        frames = self.frame_loss_weight * (terms["video_frame"] + terms["audio_frame"]) / 2
        contrast = self.contrast_loss_weight / (self.width * self.frames) * terms["contrast"]
        return {**terms, "loss": maps + frames + contrast}

    def decode(self, output: MapOutput, grids: Sequence[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """Return each clip's proposals after soft-NMS, sorted by falling score.

        Args:
            output: of a batch.
            grids: the clock of each clip.
            keep: return at most this many proposals per clip.
        """
        fused, audio, video = (
            x.detach().float().cpu().numpy() for x in (output.fused_map, output.audio_map, output.video_map)
        )
        boundaries = self.boundaries(output)
        probabilities = None if boundaries is None else boundaries.detach().float().cpu().numpy()
        results = []
        for b, grid in enumerate(grids):
            length = grid.length if self.cached_features else None
            results.append(
                decode_map(
                    fused[b],
                    grid,
                    decoding=self.decoding,
                    modality_scores=np.stack([audio[b], video[b]]),
                    boundaries=None if probabilities is None else probabilities[b, :, :length],
                    keep=keep,
                )
            )
        return results

    def boundaries(self, output: Any) -> Tensor | None:
        """Return the start and end probabilities (B, 2, T) that weight the map's cells; None if the network has none."""
        return None


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a `MapNetwork` that are out of range or do not go together."""
    sampling, decoding = arguments["sampling"], arguments["decoding"]
    if sampling not in SAMPLINGS or decoding not in DECODINGS:
        raise AvlocError(
            f"want sampling of {', '.join(SAMPLINGS)} and decoding of {', '.join(DECODINGS)}, "
            f"got {sampling!r} and {decoding!r}"
        )
    encoders = arguments["video_encoder"], arguments["audio_encoder"]
    if (encoders[0] == PROJECTION) != (encoders[1] == PROJECTION):
        raise AvlocError(f"want cached features for both encoders or none, got {encoders[0]}, {encoders[1]}")
    check_front_end_options(arguments)
    if len(arguments["map_widths"]) != 2:
        raise AvlocError(f"want 2 map_widths, got {len(arguments['map_widths'])}")
