"""Several front ends over the same samples; their embeddings are added.

A pretrained network knows words, and a spectrogram at full bandwidth has what the network's input leaves out.

Legend: B batch, R rows, T steps, C width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from avloc.core.timeline import SAMPLES_PER_ROW
from avloc.errors import AvlocError
from avloc.models.front_ends.catalog import build_front_end
from avloc.models.front_ends.front_end import FrontEnd
from avloc.models.stream_clock import stride_mask

MOST_FRONT_ENDS = 8


class ParallelFrontEnd(FrontEnd):
    """Front ends side by side: (B, R, 160) → (B, T, C), the sum of theirs.

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.
        front_ends: the `name` and the options of each.

    Raises:
        AvlocError: if fewer than two are given, or one has wrong options.

    >>> import torch
    >>> from avloc.models.stream_clock import StreamClock
    >>> front_ends = [{"name": "raw", "filters": 6}, {"name": "spectrogram", "n_fft": 320, "channels": 2}]
    >>> front_end = ParallelFrontEnd(rows_per_step=4.0, width=8, front_ends=front_ends)
    >>> x, mask = torch.zeros(2, 76, 160, dtype=torch.int16), torch.ones(2, 76, dtype=torch.bool)
    >>> front_end(x, mask, StreamClock(4.0, torch.zeros(2), torch.ones(2, 19, dtype=torch.bool))).shape
    torch.Size([2, 19, 8])
    """

    row_width = SAMPLES_PER_ROW

    def __init__(
        self,
        *,
        rows_per_step: float | None,
        width: int,
        layers: int = 0,
        dropout: float = 0.1,
        front_ends: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout)
        if not isinstance(front_ends, Sequence) or not all(isinstance(f, Mapping) and "name" in f for f in front_ends):
            raise AvlocError(f"front end parallel: front_ends must be a list of names and options, got {front_ends!r}")
        if not 2 <= len(front_ends) <= MOST_FRONT_ENDS:
            raise AvlocError(f"front end parallel: want 2 to {MOST_FRONT_ENDS} front_ends, got {len(front_ends)}")
        if any(each["name"] == "parallel" for each in front_ends):
            raise AvlocError("front end parallel: front_ends must not be parallel themselves; list all in one")
        built = [
            build_front_end(
                each["name"],
                {key: value for key, value in each.items() if key != "name"},
                modality="audio",
                row_width=SAMPLES_PER_ROW,
                rows_per_step=rows_per_step,
                width=width,
                layers=0,
                dropout=dropout,
            )
            for each in front_ends
        ]
        self.front_ends = nn.ModuleList(built)
        self.options = {
            "front_ends": [
                {"name": each["name"], **front_end.options} for each, front_end in zip(front_ends, built, strict=True)
            ]
        }
        self.stride = min(front_end.stride for front_end in built)
        for front_end in built:
            if front_end.stride % self.stride:
                raise AvlocError(
                    f"front end parallel: want multiples of {self.stride} rows per embedding, got {front_end.stride}; name others"
                )

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        present = stride_mask(mask, self.stride)
        total = x.new_zeros((), dtype=self.weight_dtype)
        for front_end in cast("Iterable[FrontEnd]", self.front_ends):
            embeddings, _ = front_end.encode(x, mask)
            embeddings = embeddings.repeat_interleave(front_end.stride // self.stride, dim=1)
            total = total + embeddings[:, : present.shape[1]]
        return total * present[..., None], present
