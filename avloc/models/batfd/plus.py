"""frames, log-mels > MViTv2, ViT > frame classifiers > three boundary maps per modality > fusions: BA-TFD+.

Cai et al., "Glitch in the Matrix: A Large Scale Benchmark for Content Driven Audio-Visual Forgery Detection and
Localization", CVIU 2023. Deviations: those of `batfd`; fused attention between cells; a channel attention that does what it is
meant to (`channel_layout`), where released weights want the published one.

Legend: B batch, C width, T frames, D durations, G width of the boundary generator's features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avloc.heads.losses import map_error
from avloc.heads.maps import MapTargets
from avloc.models.batfd.boundary_generator import BoundaryGenerator
from avloc.models.batfd.boundary_module import MapFusion, MapTrunk
from avloc.models.batfd.boundary_sampling import CellSampling
from avloc.models.batfd.map_network import MapNetwork, MapOutput
from avloc.models.batfd.proposal_relation import ChannelLayout, ProposalRelation

MAPS = 3  # of the position-aware branch, of the channel-aware one, of both
MODALITIES = ("video", "audio")


@dataclass(frozen=True)
class GeneratorOutput:
    """What the boundary generator says of a batch.

    Attributes:
        start: (B, T) probability that a fake segment starts at each frame.
        end: (B, T) that one ends there.
        video_start: (B, T) of the picture alone; likewise the next three.
        video_end: (B, T).
        audio_start: (B, T).
        audio_end: (B, T).
        video_generated: (B, G, T) what the picture's are read from.
        audio_generated: (B, G, T).
    """

    start: Tensor
    end: Tensor
    video_start: Tensor
    video_end: Tensor
    audio_start: Tensor
    audio_end: Tensor
    video_generated: Tensor
    audio_generated: Tensor

    def played_backwards(self) -> GeneratorOutput:
        """The same of the batch played backwards: its starts are the ends."""
        flipped = {f.name: getattr(self, f.name).flip(-1) for f in fields(self)}
        for prefix in ("", "video_", "audio_"):
            flipped[f"{prefix}start"], flipped[f"{prefix}end"] = flipped[f"{prefix}end"], flipped[f"{prefix}start"]
        return GeneratorOutput(**flipped)

    def cut(self, length: int) -> GeneratorOutput:
        """The first frames alone."""
        return GeneratorOutput(*(getattr(self, f.name)[..., :length] for f in fields(self)))

    def pair(self, prefix: str) -> Tensor:
        """Start and end together (B, 2, T), of both modalities or of `video_` or `audio_`."""
        return torch.stack([getattr(self, f"{prefix}start"), getattr(self, f"{prefix}end")], 1)


@dataclass(frozen=True)
class PlusOutput(MapOutput):
    """What BA-TFD+ says of a batch. `fused_map`, `video_map` and `audio_map` are the means of their three.

    With the boundary generator, its fields (`start`, `video_end`, …) can be read from here too.

    Attributes:
        fused_maps: (B, 3, D, T) of the position-aware branch, of the channel-aware one, of both.
        video_maps: (B, 3, D, T).
        audio_maps: (B, 3, D, T).
        generator: what the boundary generator says; None without one.
        backward: what it says of the clips played backwards, in the clips' own time.
    """

    fused_maps: Tensor
    video_maps: Tensor
    audio_maps: Tensor
    generator: GeneratorOutput | None = None
    backward: GeneratorOutput | None = None

    def __getattr__(self, name: str) -> Tensor:
        if name in _GENERATOR_FIELDS and self.generator is not None:
            return getattr(self.generator, name)
        raise AttributeError(
            f"no {name!r} in the output" + (" without a boundary generator" * (name in _GENERATOR_FIELDS))
        )

    def combined(self) -> PlusOutput:
        """The same with the starts and ends of both passes in one: their geometric mean."""
        if self.generator is None or self.backward is None:
            return self
        names = [f.name for f in fields(self.generator) if not f.name.endswith("generated")]
        both = {name: (getattr(self.generator, name) * getattr(self.backward, name)).sqrt() for name in names}
        return replace(self, generator=replace(self.generator, **both), backward=None)


_GENERATOR_FIELDS = frozenset(f.name for f in fields(GeneratorOutput))


class RelationModule(nn.Module):
    """Features (B, C, F) > three boundary maps (B, 3, D, S), probabilities."""

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
        channel_layout: `channels`, or `published` as the released weights want it (`proposal_relation.ChannelAttention`).
        boundary_generator: predict starts and ends too, from the clip and from the clip played backwards; twice the work.
        generator_loss_weight: of the difference between the generator's features of both passes.
        kwargs: the others of `MapNetwork`.
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
            "channel_layout": channel_layout, "boundary_generator": boundary_generator,
            "generator_loss_weight": generator_loss_weight,
        }  # fmt: skip
        self.generator_loss_weight = generator_loss_weight
        width = self.width + 1
        maps: dict[str, Any] = {"features": width, "samples": self.samples, "widths": self.map_widths}
        self.video_boundaries = RelationModule(**maps, channel_layout=channel_layout)
        self.audio_boundaries = RelationModule(**maps, channel_layout=channel_layout)
        self.fusions = nn.ModuleList(MapFusion(features=width, durations=self.durations) for _ in range(MAPS))
        self.generators: nn.ModuleDict | None = None
        if boundary_generator:
            self.generators = nn.ModuleDict({m: BoundaryGenerator(features=width) for m in MODALITIES})
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
    ) -> PlusOutput:
        """Run a batch; with the boundary generator, also the same batch played backwards. Arguments as of `BATFD.forward`.

        All cells are computed, since each attends to all.
        """
        streams = self.encode(video, audio, n_frames, video_mask, audio_mask, local_maps=False)
        v, a = streams.with_logits(self.frames)
        sampling = self.sample(streams.starts, v.device)
        video_maps, audio_maps = self.video_boundaries(v, sampling), self.audio_boundaries(a, sampling)
        each = zip(self.fusions, video_maps.unbind(1), audio_maps.unbind(1), strict=True)
        fused_maps = torch.stack([fusion(x, y, v, a) for fusion, x, y in each], 1)
        length = streams.video.shape[-1]
        maps = [x[..., :length] for x in (fused_maps, video_maps, audio_maps)]
        output = PlusOutput(
            maps[0].mean(1), maps[1].mean(1), maps[2].mean(1), streams.video_logits, streams.audio_logits,
            streams.video, streams.audio, maps[0], maps[1], maps[2],
        )  # fmt: skip
        if self.generators is None:
            return output
        back = self._backwards(video, audio, video_mask, audio_mask)
        return replace(output, generator=self._boundaries(v, a).cut(length), backward=back.cut(length))

    def _backwards(
        self, video: Tensor, audio: Tensor, video_mask: Tensor | None, audio_mask: Tensor | None
    ) -> GeneratorOutput:
        """The boundaries of the whole input, its padding included, played backwards."""
        if self.cached_features:  # up to T first: what comes before the clip must not depend on its batch
            rest = self.frames - video.shape[1]
            none = torch.zeros(video.shape[:2], dtype=torch.bool, device=video.device)
            v, a = (pad(x, (0, 0, 0, rest)).flip(1) for x in (video, audio))
            v_mask, a_mask = (pad((~none if m is None else m), (0, rest)).flip(1) for m in (video_mask, audio_mask))
            streams = self.encode(v, a, None, v_mask, a_mask, local_maps=False)
        else:
            streams = self.encode(video.flip(2), audio.flip(2), None, None, None, local_maps=False)
        return self._boundaries(*streams.with_logits(self.frames)).played_backwards()

    def _boundaries(self, video: Tensor, audio: Tensor) -> GeneratorOutput:
        """Features with the logit (B, C + 1, T) of both > starts and ends."""
        assert self.generators is not None
        found = {m: self.generators[m](x) for m, x in zip(MODALITIES, (video, audio), strict=True)}
        parts: dict[str, Tensor] = {f"{m}_generated": found[m].features for m in MODALITIES}
        for side, fusion in self.boundary_fusions.items():
            v, a = (getattr(found[m], side) for m in MODALITIES)
            parts |= {side: fusion(v[:, None], a[:, None], video, audio)[:, 0], f"video_{side}": v, f"audio_{side}": a}
        return GeneratorOutput(**parts)

    @torch.inference_mode()
    def predict(self, video: Tensor, audio: Tensor, n_frames: Tensor | None = None, **masks: Tensor) -> PlusOutput:
        """The published prediction step: the boundaries of both passes in one."""
        output: PlusOutput = self(video, audio, n_frames, **masks)
        return output.combined()

    def boundaries(self, output: PlusOutput) -> Tensor | None:
        generator = output.combined().generator
        return None if generator is None else generator.pair("")

    def loss(self, output: PlusOutput, targets: MapTargets) -> dict[str, Tensor]:
        """The terms of the loss, each the mean over clips of its mean over the clip's own frames, and their sum under `loss`.

        Each of the three maps is asked for the same; with the boundary generator, starts and ends of both passes too.
        """
        audio_map, video_map = targets.modality_maps.unbind(1)
        wanted = {"fused": targets.fused_map, "video": video_map, "audio": audio_map}
        terms = {}
        for name, target in wanted.items():
            terms[f"{name}_map"] = MAPS * map_error(getattr(output, f"{name}_maps"), target[:, None], targets.mask)
        if output.generator is not None and output.backward is not None:
            audio_ends, video_ends = targets.modality_boundaries.unbind(1)
            ends = {"fused": targets.fused_boundaries, "video": video_ends, "audio": audio_ends}
            for name, target in ends.items():
                terms[f"{name}_boundary"] = self._boundary_term(
                    output.generator, output.backward, name, target, targets.mask
                )
                terms[f"{name}_map"] = terms[f"{name}_map"] + terms[f"{name}_boundary"]
        return self.total({**terms, **self.frame_terms(output, targets)})

    def _boundary_term(
        self, here: GeneratorOutput, back: GeneratorOutput, name: str, target: Tensor, mask: Tensor
    ) -> Tensor:
        """Both passes' errors of start and end against (B, 2, T), and of one pass's features against the other's."""
        prefix = "" if name == "fused" else f"{name}_"
        found = torch.cat([here.pair(prefix), back.pair(prefix)], 1)
        term = found.shape[1] * map_error(found, target.repeat(1, 2, 1), mask)
        if name == "fused":
            return term
        ours, theirs = (getattr(x, f"{name}_generated").float() for x in (here, back))
        return term + self.generator_loss_weight * map_error(ours, theirs, mask)
