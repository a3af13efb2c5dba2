"""frames, log-mels > MViTv2, ViT > frame classifiers > three boundary maps per modality > fusions: BA-TFD+.

Cai et al., "Glitch in the Matrix: A Large Scale Benchmark for Content Driven Audio-Visual Forgery Detection and
Localization", CVIU 2023. Deviations: those of `network.BATFD`; fused attention between cells; a corrected channel attention
(`channel_layout`), where released weights need the published one.

Legend: B batch, C width, T frames, D durations, G width of the boundary generator's features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avloc.core.timeline import rows_in
from avloc.heads.losses import map_error
from avloc.heads.maps import MapTargets
from avloc.models.batfd.boundary_generator import BoundaryGenerator
from avloc.models.batfd.boundary_module import MapFusion, MapTrunk
from avloc.models.batfd.boundary_sampling import CellSampling
from avloc.models.batfd.map_network import ROWS_ARE_STEPS, MapNetwork, MapOutput, StreamTimes
from avloc.models.batfd.proposal_relation import ChannelLayout, ProposalRelation

MAPS = 3  # of the position-aware branch, the channel-aware branch, and both
STREAM_NAMES = ("video", "audio")


@dataclass(frozen=True)
class GeneratorOutput:
    """Output of the boundary generators for a batch.

    Attributes:
        start: (B, T) probability that a fake segment starts at this frame, fused from both modalities.
        end: (B, T) probability that one ends there, fused.
        video_start: (B, T) from the visual stream alone.
        video_end: (B, T) from the visual stream alone.
        audio_start: (B, T) from the audio stream alone.
        audio_end: (B, T) from the audio stream alone.
        video_generated: (B, G, T) features that the visual probabilities are read from.
        audio_generated: (B, G, T) features that the audio probabilities are read from.
    """

    start: Tensor
    end: Tensor
    video_start: Tensor
    video_end: Tensor
    audio_start: Tensor
    audio_end: Tensor
    video_generated: Tensor
    audio_generated: Tensor

    def reversed(self) -> GeneratorOutput:
        """Return the output of a batch played backwards in the time of the original batch: starts become ends."""
        flipped = {f.name: getattr(self, f.name).flip(-1) for f in fields(self)}
        for prefix in ("", "video_", "audio_"):
            flipped[f"{prefix}start"], flipped[f"{prefix}end"] = flipped[f"{prefix}end"], flipped[f"{prefix}start"]
        return GeneratorOutput(**flipped)

    def first(self, length: int) -> GeneratorOutput:
        """Return the first `length` frames."""
        return GeneratorOutput(*(getattr(self, f.name)[..., :length] for f in fields(self)))

    def start_and_end(self, prefix: str = "") -> Tensor:
        """Stack the start and end probabilities: fused ones, or those of `video_` or `audio_`; (B, 2, T)."""
        return torch.stack([getattr(self, f"{prefix}start"), getattr(self, f"{prefix}end")], 1)


@dataclass(frozen=True)
class PlusOutput(MapOutput):
    """Output of BA-TFD+ for a batch. `fused_map`, `video_map` and `audio_map` are the means of three maps each.

    With a boundary generator, the fields of `generator` (`start`, `video_end`, …) are attributes of this output, too.

    Attributes:
        fused_maps: (B, 3, D, T) of the position-aware branch, the channel-aware branch, and both.
        video_maps: (B, 3, D, T) of the same branches.
        audio_maps: (B, 3, D, T) of the same branches.
        generator: output of the boundary generators; None without them.
        reverse_generator: their output for the clips played backwards, in the time of the original clips.
    """

    fused_maps: Tensor
    video_maps: Tensor
    audio_maps: Tensor
    generator: GeneratorOutput | None = None
    reverse_generator: GeneratorOutput | None = None

    def __getattr__(self, name: str) -> Tensor:
        if name in _GENERATOR_FIELDS and self.generator is not None:
            return getattr(self.generator, name)
        reason = " without a boundary generator" if name in _GENERATOR_FIELDS else ""
        raise AttributeError(f"no {name!r} in the output{reason}")

    def combined(self) -> PlusOutput:
        """Combine the probabilities of the forward and the reverse pass to their geometric mean."""
        if self.generator is None or self.reverse_generator is None:
            return self
        names = [f.name for f in fields(self.generator) if not f.name.endswith("generated")]
        means = {name: (getattr(self.generator, name) * getattr(self.reverse_generator, name)).sqrt() for name in names}
        return replace(self, generator=replace(self.generator, **means), reverse_generator=None)


_GENERATOR_FIELDS = frozenset(f.name for f in fields(GeneratorOutput))


class RelationModule(nn.Module):
    """Features (B, C, F) > three boundary maps (B, 3, D, S), probabilities.

    Args:
        features: C.
        samples: points that each cell samples.
        widths: of the folded samples, and of the map's convolutions.
        channel_layout: see `proposal_relation.ChannelAttention`.
    """

    def __init__(
        self, *, features: int, samples: int, widths: tuple[int, int], channel_layout: ChannelLayout = "channels"
    ) -> None:
        super().__init__()
        self.trunk = MapTrunk(features=features, samples=samples, widths=widths)
        self.relation = ProposalRelation(width=widths[1], channel_layout=channel_layout)

    def forward(self, features: Tensor, sampling: CellSampling) -> Tensor:
        return self.relation(self.trunk(features, sampling))


class BATFDPlus(MapNetwork):
    """Boundary-aware temporal forgery detection plus.

    Args:
        video_encoder: see `MapNetwork`.
        audio_encoder: see `MapNetwork`.
        channel_layout: `channels`, or `published` for the released weights (`proposal_relation.ChannelAttention`).
        boundary_generator: predict starts and ends, too, from the clip and from the clip played backwards; twice the work.
        generator_loss_weight: of the difference between the generator's features of both passes.
        kwargs: further arguments of `MapNetwork`.

    Raises:
        AvlocError: if the arguments do not fit together.

    >>> cached = {"video_encoder": "projection", "audio_encoder": "projection", "visual_dim": 5, "audio_dim": 7}
    >>> network = BATFDPlus(**cached, width=4, map_widths=(6, 3), samples=3, frames=32, durations=6).eval()
    >>> network(video=torch.zeros(2, 19, 5), audio=torch.zeros(2, 19, 7)).fused_maps.shape
    torch.Size([2, 3, 6, 19])
    """

    def __init__(
        self,
        *,
        video_encoder: str = "mvit_b",
        audio_encoder: str = "vit_b",
        channel_layout: ChannelLayout = "channels",
        boundary_generator: bool = False,
        generator_loss_weight: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(video_encoder=video_encoder, audio_encoder=audio_encoder, **kwargs)
        self.arguments |= {
            "channel_layout": channel_layout,
            "boundary_generator": boundary_generator,
            "generator_loss_weight": generator_loss_weight,
        }
        self.generator_loss_weight = generator_loss_weight
        width = self.width + 1
        module = partial(RelationModule, features=width, samples=self.samples, widths=self.map_widths)
        self.video_boundaries = module(channel_layout=channel_layout)
        self.audio_boundaries = module(channel_layout=channel_layout)
        self.fusions = nn.ModuleList(MapFusion(features=width, durations=self.durations) for _ in range(MAPS))
        self.generators: nn.ModuleDict | None = None
        if boundary_generator:
            self.generators = nn.ModuleDict({m: BoundaryGenerator(features=width) for m in STREAM_NAMES})
            self.boundary_fusions = nn.ModuleDict(
                {side: MapFusion(features=width, durations=1) for side in ("start", "end")}
            )

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
    ) -> PlusOutput:
        """Run a batch and, with a boundary generator, the batch played backwards.

        The maps are computed for all starts, since every cell attends to all others.

        Args:
            video: see `BATFD.forward`.
            audio: see `BATFD.forward`.
            n_frames: see `BATFD.forward`.
            video_mask: see `BATFD.forward`.
            audio_mask: see `BATFD.forward`.
            audio_phase: see `BATFD.forward`.
            video_phase: see `BATFD.forward`.
            step_mask: see `BATFD.forward`.
        """
        times = StreamTimes(audio_phase, video_phase, step_mask)
        streams = self.encode(video, audio, n_frames, video_mask, audio_mask, times=times, local_maps=False)
        v, a = streams.with_logits(self.frames)
        sampling = self.sample(streams.starts, v.device)
        video_maps, audio_maps = self.video_boundaries(v, sampling), self.audio_boundaries(a, sampling)
        branches = zip(self.fusions, video_maps.unbind(1), audio_maps.unbind(1), strict=True)
        fused_maps = torch.stack([fusion(x, y, v, a) for fusion, x, y in branches], 1)
        length = streams.video.shape[-1]
        fused_maps, video_maps, audio_maps = (x[..., :length] for x in (fused_maps, video_maps, audio_maps))
        output = PlusOutput(
            fused_map=fused_maps.mean(1),
            video_map=video_maps.mean(1),
            audio_map=audio_maps.mean(1),
            video_logits=streams.video_logits,
            audio_logits=streams.audio_logits,
            video_features=streams.video,
            audio_features=streams.audio,
            fused_maps=fused_maps,
            video_maps=video_maps,
            audio_maps=audio_maps,
        )
        if self.generators is None:
            return output
        reverse = self._reverse_boundaries(video, audio, video_mask, audio_mask, times)
        generator = self._boundaries(v, a)
        return replace(output, generator=generator.first(length), reverse_generator=reverse.first(length))

    def _reverse_boundaries(
        self,
        video: Tensor,
        audio: Tensor,
        video_mask: Tensor | None,
        audio_mask: Tensor | None,
        times: StreamTimes = ROWS_ARE_STEPS,
    ) -> GeneratorOutput:
        """Predict the boundaries of the whole input, padding included, played backwards."""
        if self.cached_features:  # padded to T first, so that a clip's results do not depend on the length of its batch
            v, v_mask, v_phase = self._reversed(video, video_mask, times.video_phase, "visual")
            a, a_mask, a_phase = self._reversed(audio, audio_mask, times.audio_phase, "audio")
            steps = times.step_mask
            if steps is not None:
                steps = pad(steps, (0, self.frames - steps.shape[1])).flip(1)
            reverse_times = StreamTimes(a_phase, v_phase, steps)
            streams = self.encode(v, a, None, v_mask, a_mask, times=reverse_times, local_maps=False)
        else:
            streams = self.encode(video.flip(2), audio.flip(2), None, None, None, local_maps=False)
        return self._boundaries(*streams.with_logits(self.frames)).reversed()

    def _reversed(
        self, x: Tensor, mask: Tensor | None, phase: Tensor | None, modality: str
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pad cached features (B, R, D) with their mask and phase to all of the network's steps, and play them backwards."""
        rate = 1.0 if phase is None else float(self.arguments[f"{modality}_rows_per_step"])
        rows = rows_in(self.frames, rate)
        all_rows = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        padding = rows - x.shape[1]
        x = pad(x, (0, 0, 0, padding)).flip(1)
        mask = pad(all_rows if mask is None else mask, (0, padding)).flip(1)
        return x, mask, None if phase is None else self.frames * rate - rows - phase

    def _boundaries(self, video: Tensor, audio: Tensor) -> GeneratorOutput:
        """Predict starts and ends from features with logits, (B, C + 1, T) per modality."""
        assert self.generators is not None
        v, a = (self.generators[m](x) for m, x in zip(STREAM_NAMES, (video, audio), strict=True))
        start, end = (
            self.boundary_fusions[side](getattr(v, side)[:, None], getattr(a, side)[:, None], video, audio)[:, 0]
            for side in ("start", "end")
        )
        return GeneratorOutput(
            start=start,
            end=end,
            video_start=v.start,
            video_end=v.end,
            audio_start=a.start,
            audio_end=a.end,
            video_generated=v.features,
            audio_generated=a.features,
        )

    @torch.inference_mode()
    def predict(self, video: Tensor, audio: Tensor, n_frames: Tensor | None = None, **masks: Tensor) -> PlusOutput:
        """Run the published prediction step, which combines the boundaries of both passes."""
        output: PlusOutput = self(video, audio, n_frames, **masks)
        return output.combined()

    def boundaries(self, output: PlusOutput) -> Tensor | None:
        generator = output.combined().generator
        return None if generator is None else generator.start_and_end()

    def loss(self, output: PlusOutput, targets: MapTargets) -> dict[str, Tensor]:
        """Return the terms of the loss, and their weighted sum under `loss`.

        Each term is averaged over a clip's own frames first, then over the clips. All three maps have the same target; with a
        boundary generator, the starts and ends of both passes have targets, too.
        """
        audio_map, video_map = targets.modality_maps.unbind(1)
        terms = {}
        for name, target in (("fused", targets.fused_map), ("video", video_map), ("audio", audio_map)):
            terms[f"{name}_map"] = MAPS * map_error(getattr(output, f"{name}_maps"), target[:, None], targets.mask)
        if output.generator is not None and output.reverse_generator is not None:
            audio_ends, video_ends = targets.modality_boundaries.unbind(1)
            passes = output.generator, output.reverse_generator
            for name, target in (("fused", targets.fused_boundaries), ("video", video_ends), ("audio", audio_ends)):
                terms[f"{name}_boundary"] = self._boundary_term(passes, name, target, targets.mask)
                terms[f"{name}_map"] = terms[f"{name}_map"] + terms[f"{name}_boundary"]
        return self.total({**terms, **self.frame_terms(output, targets)})

    def _boundary_term(
        self, passes: tuple[GeneratorOutput, GeneratorOutput], name: str, target: Tensor, mask: Tensor
    ) -> Tensor:
        """Return the error of both passes' starts and ends against (B, 2, T), plus that between both passes' features."""
        prefix = "" if name == "fused" else f"{name}_"
        boundaries = torch.cat([output.start_and_end(prefix) for output in passes], 1)
        term = boundaries.shape[1] * map_error(boundaries, target.repeat(1, 2, 1), mask)
        if name == "fused":
            return term
        forward, reverse = (getattr(output, f"{name}_generated").float() for output in passes)
        return term + self.generator_loss_weight * map_error(forward, reverse, mask)
