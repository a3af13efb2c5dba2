"""Samples > log mel > the package's first layers of Whisper Base > projection: pretrained, and without a file or a download.

Rows of the network are centred on the odd mel frames, so on two rows of samples each; behind both ends of a stream is silence.

Legend: B batch, R rows, N samples, M mel bands, H width of a hidden state, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avloc.core.timeline import SAMPLES_PER_ROW
from avloc.models.front_ends.front_end import (
    FrontEnd,
    check_options,
    cut_spans,
    join_samples,
    place_spans,
    present_spans,
)
from avloc.models.front_ends.tuning import Tuning, check_tuning, choose_parameters
from avloc.models.mel import mel_power
from avloc.models.stream_clock import stride_mask
from avloc.models.whisper.network import HOP, LAYERS, MELS, WIDTH, load_encoder, log_mel


class WhisperFrontEnd(FrontEnd):
    """The first three layers of Whisper Base, trained with the task: (B, R, 160) → (B, T, C).

    Its input and all hidden states lie side by side before the projection, each normalized.

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.
        tuning: which weights learn: `frozen`: none of Whisper's; `lora`: low-rank updates of its attention; `top`: its uppermost
            layers; `all`.
        top_layers: number of layers that learn with `top`.
        rank: of the updates of `lora`.

    Raises:
        AvlocError: if an option is out of its range, or the weights of the package are damaged.

    >>> front_end = WhisperFrontEnd(rows_per_step=4.0, width=8, tuning="top", top_layers=1)
    >>> [len(group) > 0 for group in front_end.pretrained_groups()]  # three layers, then the convolutions under them
    [True, False, False, False]
    """

    row_width = SAMPLES_PER_ROW
    stride = HOP // SAMPLES_PER_ROW

    def __init__(
        self,
        *,
        rows_per_step: float | None,
        width: int,
        layers: int = 0,
        dropout: float = 0.1,
        tuning: Tuning = "frozen",
        top_layers: int = 1,
        rank: int = 8,
    ) -> None:
        super().__init__(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout)
        check_tuning("whisper", tuning)
        check_options("whisper", {"rank": (rank, 1, 1024), "top_layers": (top_layers, 1, LAYERS)})
        self.options = {"tuning": tuning, "top_layers": top_layers, "rank": rank}
        self.network = load_encoder()
        choose_parameters(self.network, self.network.layers, tuning, top_layers=top_layers, rank=rank)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(LAYERS + 1))
        self.project = nn.Linear((LAYERS + 1) * WIDTH, width)

    def pretrained_groups(self) -> list[list[nn.Parameter]]:
        parts = [[layer] for layer in reversed(self.network.layers)] + [[self.network.conv2, self.network.conv1]]
        return [[p for module in part for p in module.parameters() if p.requires_grad] for part in parts]

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        present = stride_mask(mask, self.stride)  # B, rows of the network
        spans = present_spans(present)
        sounds = cut_spans(join_samples(x, mask), spans, present.shape[1], HOP)
        states = self._run([log_mel(mel_power(sound, MELS)) for sound in sounds])
        rows = self.project(torch.cat([norm(state) for norm, state in zip(self.norms, states, strict=True)], dim=-1))
        return place_spans([*rows], spans, present.shape[1]) * present[..., None], present

    def _run(self, mels: list[Tensor]) -> list[Tensor]:
        """Run the network on log mels (M, F), of unequal length: its input and hidden states, (B, rows, H) each."""
        frames = [mel.shape[1] for mel in mels]
        longest = max(frames)
        batch = torch.stack([pad(mel, (0, longest - mel.shape[1])) for mel in mels]).to(self.weight_dtype)
        rows = torch.tensor(frames, device=batch.device) // 2 if min(frames) < longest else None
        states: list[Tensor] = self.network(batch, rows, first_frame=1)
        return states
