"""Samples > a pretrained speech network > learned weights of its layers > projection.

A frame of the network lies in the middle of the samples that its convolutions see. The stream is padded at its start by half of
their receptive field beyond a hop (2.5 ms), so that frames are centred on two rows each.

Legend: B batch, R rows, N samples, L hidden states, H their width, C width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avloc.core.timeline import SAMPLES_PER_ROW
from avloc.errors import AvlocError
from avloc.models.front_ends.front_end import (
    FrontEnd,
    check_options,
    cut_spans,
    join_samples,
    place_spans,
    present_spans,
)
from avloc.models.front_ends.speech_encoder import (
    SpeechEncoder,
    checkpoint_activations,
    conv_timing,
    hidden_states,
    random_encoder,
    read_encoder,
)
from avloc.models.front_ends.tuning import Tuning, check_tuning, choose_parameters
from avloc.models.stream_clock import stride_mask


class SpeechFrontEnd(FrontEnd):
    """WavLM, wav2vec 2.0, XLS-R or HuBERT, trained with the task: (B, R, 160) → (B, T, C).

    The network's layers are mixed by learned weights (Yang et al., "SUPERB", Interspeech 2021).

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.
        weights: folder of a network as transformers saves it.
        settings: of a network with random weights, or of one whose weights come from a checkpoint (`speech_encoder.SETTINGS`).
        normalize: scale each clip's samples to mean 0 and deviation 1; None: as the network was trained.
        tuning: which weights learn: `frozen`: none of the network's; `lora`: low-rank updates of its attention; `top`: its
            uppermost layers; `all`.
        top_layers: number of layers that learn with `top`.
        rank: of the updates of `lora`.
        checkpointing: compute a layer's activations again in the backward pass instead of keeping them: less memory, a third
            more time.

    Raises:
        AvlocError: unless either weights or settings are given, or if an option is out of its range.

    >>> small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    >>> small |= {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    >>> front_end = SpeechFrontEnd(
    ...     rows_per_step=4.0, width=8, settings={"model_type": "wavlm", **small}, tuning="top", top_layers=1
    ... )
    >>> [len(group) > 0 for group in front_end.pretrained_groups()]  # the two layers, then all under them
    [True, False, False]
    """

    row_width = SAMPLES_PER_ROW

    def __init__(
        self,
        *,
        rows_per_step: float | None,
        width: int,
        layers: int = 0,
        dropout: float = 0.1,
        weights: str | None = None,
        settings: Mapping[str, Any] | None = None,
        normalize: bool | None = None,
        tuning: Tuning = "frozen",
        top_layers: int = 4,
        rank: int = 8,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout)
        if (weights is None) == (settings is None):
            raise AvlocError("front end speech: give either weights (a folder), or settings (random weights)")
        check_tuning("speech", tuning)
        encoder = random_encoder(settings, normalize) if settings is not None else read_encoder(weights or "")
        config = encoder.network.config
        most_layers = config.num_hidden_layers if tuning == "top" else 64
        limits = {"rank": (rank, 1, 1024), "top_layers": (top_layers, 1, most_layers)}
        switches = {"checkpointing": checkpointing} | ({} if normalize is None else {"normalize": normalize})
        check_options("speech", limits, switches)
        self.tuning, self.normalize = tuning, encoder.normalize if normalize is None else normalize
        self.options = {
            "settings": encoder.settings,
            "normalize": self.normalize,
            "tuning": tuning,
            "top_layers": top_layers,
            "rank": rank,
            "checkpointing": checkpointing,
        }
        self._set_clock(encoder)
        self.network = encoder.network
        if checkpointing:
            checkpoint_activations(self.network)
        self._choose_parameters(top_layers, rank)
        add_clip_norm(self.network)
        self.layer_weights = nn.Parameter(torch.zeros(config.num_hidden_layers + 1))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.project = nn.Linear(config.hidden_size, width)

    def _set_clock(self, encoder: SpeechEncoder) -> None:
        """Derive samples per frame, and those that a frame sees, from the convolutions."""
        config = encoder.network.config
        self.hop, self.reach = conv_timing(config.conv_kernel, config.conv_stride)
        self.stride = self.hop // SAMPLES_PER_ROW
        if self.hop % SAMPLES_PER_ROW or (self.reach - self.hop) % 2:
            raise AvlocError(
                f"front end speech: a network of {self.hop} samples per frame, of which each sees {self.reach}, does not fit to "
                f"rows of {SAMPLES_PER_ROW}"
            )

    def _choose_parameters(self, top_layers: int, rank: int) -> None:
        """Freeze what does not learn."""
        network = self.network
        choose_parameters(network, network.encoder.layers, self.tuning, top_layers=top_layers, rank=rank)
        if self.tuning != "all":
            network.feature_extractor._requires_grad = False  # it would ask for gradients of the samples
        if self.tuning == "top" and network.config.do_stable_layer_norm:  # it follows the last layer
            network.encoder.layer_norm.requires_grad_(True)
        if getattr(network, "masked_spec_embed", None) is not None:
            network.masked_spec_embed.requires_grad_(False)  # of masked frames, which do not occur

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen network has no dropout."""
        super().train(mode)
        if self.tuning == "frozen":
            self.network.eval()
        return self

    def pretrained_groups(self) -> list[list[nn.Parameter]]:
        encoder = self.network.encoder
        layers: list[nn.Module] = [*reversed(encoder.layers)]
        groups = [[p for p in layer.parameters() if p.requires_grad] for layer in layers]
        grouped = {id(p) for layer in layers for p in layer.parameters()}
        rest = [p for p in self.network.parameters() if p.requires_grad and id(p) not in grouped]
        last_norm = (
            {id(p) for p in encoder.layer_norm.parameters()} if self.network.config.do_stable_layer_norm else set()
        )
        groups[0] += [p for p in rest if id(p) in last_norm]
        return [*groups, [p for p in rest if id(p) not in last_norm]]

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        present = stride_mask(mask, self.stride)  # B, frames
        spans = present_spans(present)
        states = self._run(self._signals(x, mask, present.shape[1], spans))
        placed = place_spans([*states], spans, present.shape[1])
        return self.project(self.norm(placed)) * present[..., None], present

    def _signals(self, x: Tensor, mask: Tensor, frames: int, spans: list[tuple[int, int]]) -> list[Tensor]:
        """Cut each clip's samples to its frames, with the margin that they see: (N) each, whose silence is 0."""
        samples = join_samples(x, mask)
        if self.normalize:
            samples = _normalized(samples, mask.repeat_interleave(SAMPLES_PER_ROW, dim=1))
        margin = (self.reach - self.hop) // 2
        parts = cut_spans(samples, spans, frames, self.hop)
        return [pad(part, (margin, self.reach - self.hop - margin)) for part in parts]

    def _run(self, signals: list[Tensor]) -> Tensor:
        """Run the network, and mix its layers: signals (N) → (B, frames, H)."""
        lengths = [len(signal) for signal in signals]
        longest = max(lengths)
        batch = torch.stack([pad(signal, (0, longest - len(signal))) for signal in signals]).to(self.weight_dtype)
        mask = None
        if min(lengths) < longest:
            ends = torch.tensor(lengths).to(batch.device, non_blocking=True)
            mask = (torch.arange(longest, device=batch.device) < ends[:, None]).long()
        for norm in self.network.feature_extractor.modules():
            if isinstance(norm, ClipNorm):
                norm.lengths = lengths
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tuning != "frozen"):
            states = hidden_states(self.network, batch, mask)
        weights = self.layer_weights.softmax(0)
        return sum((state * weight for state, weight in zip(states, weights, strict=True)), torch.zeros_like(states[0]))


class ClipNorm(nn.GroupNorm):
    """The group norm of a network's first convolution, over each clip's own samples: (B, C, N) → (B, C, N).

    Networks of the base sizes take it over the whole stream, and padding would change it. So clips of unequal length can share a
    pass, as they do with a norm per frame.

    Args:
        norm: with its weights.
        conv: whose outputs are normalized.

    Attributes:
        lengths: samples of each clip of the pass; the backward pass of `checkpointing` needs them, too.
    """

    def __init__(self, norm: nn.GroupNorm, conv: nn.Conv1d) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias
        self.kernel, self.hop = conv.kernel_size[0], conv.stride[0]
        self.lengths: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        counts = [(length - self.kernel) // self.hop + 1 for length in self.lengths]
        if min(counts, default=x.shape[2]) == x.shape[2]:
            return super().forward(x)
        parts = [super(ClipNorm, self).forward(clip[None, :, :n]) for clip, n in zip(x, counts, strict=True)]
        return torch.cat([pad(part, (0, x.shape[2] - part.shape[2])) for part in parts])


def add_clip_norm(network: Any) -> None:
    """Replace the group norm of a network's first convolution by a `ClipNorm`; other networks stay as they are."""
    layer = network.feature_extractor.conv_layers[0]
    if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
        layer.layer_norm = ClipNorm(layer.layer_norm, layer.conv)


def _normalized(samples: Tensor, inside: Tensor) -> Tensor:
    """Scale each clip's samples that were decoded to mean 0 and deviation 1: (B, N), (B, N); the others stay silence."""
    count = inside.sum(1, keepdim=True).clamp_min(1)
    centered = (samples - samples.sum(1, keepdim=True) / count).masked_fill(~inside, 0)
    return centered * (centered.square().sum(1, keepdim=True) / count + 1e-7).rsqrt()
