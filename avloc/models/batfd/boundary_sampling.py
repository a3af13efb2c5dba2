"""Which frames a cell of a boundary map looks at, as sparse weights: never a dense matrix, never a parameter.

For every cell (duration d, start t) N points are spread along time from half a length before the segment to half a length
behind it, each read by linear interpolation. (Lin et al., "BMN", ICCV 2019, section 3.2; Cai et al., BA-TFD, 2022.)

Legend: T frames, D durations, N samples, S starts (the first S ≤ T of them), R = N·T rows of a table, K width of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from avloc.errors import AvlocError

Sampling = Literal["proposal", "published"]
SAMPLINGS: tuple[Sampling, ...] = ("proposal", "published")


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix by rows: `columns` and `weights` of row r are those from `offsets[r]` to `offsets[r + 1]`."""

    columns: Tensor
    weights: Tensor
    offsets: Tensor

    def __matmul__(self, table: Tensor) -> Tensor:
        """Times a table (columns, K) float32: (rows, K)."""
        return embedding_bag(
            self.columns, table, self.offsets, mode="sum", per_sample_weights=self.weights, include_last_offset=True
        )

    def first(self, rows: int) -> SparseRows:
        """The first rows alone; nothing is copied."""
        end = int(self.offsets[rows])
        return SparseRows(self.columns[:end], self.weights[:end], self.offsets[: rows + 1])

    def part(self, begin: int, end: int) -> SparseRows:
        """The rows from `begin` to `end`."""
        first, last = int(self.offsets[begin]), int(self.offsets[end])
        return SparseRows(
            self.columns[first:last], self.weights[first:last], self.offsets[begin : end + 1] - self.offsets[begin]
        )

    def transposed(self, columns: int) -> SparseRows:
        """The same matrix with rows and columns exchanged: (columns, rows)."""
        counts = self.offsets.diff()
        rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        order = torch.argsort(self.columns, stable=True)
        per_column = torch.bincount(self.columns, minlength=columns)
        offsets = torch.cat([per_column.new_zeros(1), per_column.cumsum(0)])
        return SparseRows(rows[order], self.weights[order], offsets)


class CellSampling:
    """The sampling of all cells with a start below S.

    Attributes:
        starts: S.
        durations: D.
        rows: (S·D, N·T), cell (t, d) in row t·D + d, sample n of frame f in column n·T + f.
    """

    def __init__(self, rows: SparseRows, starts: int, durations: int, columns: int) -> None:
        self.rows, self.starts, self.durations, self.columns = rows, starts, durations, columns

    @cached_property
    def back(self) -> SparseRows:
        """Its transpose, which brings gradients back."""
        return self.rows.transposed(self.columns)

    def __call__(self, table: Tensor) -> Tensor:
        """Every cell's weighted sum of a table (N·T, K) float32: (S·D, K)."""
        if table.requires_grad and torch.is_grad_enabled():
            sampled: Tensor = _Sample.apply(table, self)  # type: ignore[no-untyped-call]
            return sampled
        return self.rows @ table


class _Sample(torch.autograd.Function):
    """A product with fixed sparse weights: embedding_bag's own gradient is many times slower than another product."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, sampling: CellSampling) -> Tensor:
        ctx.sampling = sampling
        return sampling.rows @ table

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.sampling.back @ gradient.contiguous(), None


@lru_cache(maxsize=8)
def cell_sampling(frames: int, durations: int, samples: int, kind: Sampling, device: str = "cpu") -> CellSampling:
    """The sampling of a whole map, T = S, made once per process and device.

    `published` is what the released weights were trained with: the segment of cell (d, t) is taken to be [t, d + 1], so
    that its length may be negative, and a point on a frame counts twice. `proposal` takes [t, t + d + 1], once.

    Raises:
        AvlocError: if there is nothing to sample.
    """
    if frames < 2 or durations < 1 or samples < 2 or kind not in SAMPLINGS:
        raise AvlocError(
            f"want frames ≥ 2, durations ≥ 1, samples ≥ 2 and sampling of {', '.join(SAMPLINGS)}, "
            f"got {frames}, {durations}, {samples} and {kind!r}"
        )
    at, inside = _points(frames, durations, samples, kind)
    low = np.floor(at[inside])
    high = np.ceil(at[inside])
    fraction = at[inside] - low
    n = np.broadcast_to(np.arange(samples), inside.shape)[inside]
    if kind == "published":
        pairs = [(low, 1 - fraction), (high, 1 - (high - at[inside]))]
    else:
        pairs = [(low, 1 - fraction), (high, fraction)]
    columns = np.stack([n * frames + frame.astype(np.int64) for frame, _ in pairs], axis=1)
    weights = np.stack([weight for _, weight in pairs], axis=1)
    used = weights != 0
    counts = np.zeros(inside.shape, dtype=np.int64)
    counts[inside] = used.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts.sum(axis=2).reshape(-1))])
    rows = SparseRows(
        torch.from_numpy(columns[used]).to(device), torch.from_numpy(weights[used].astype(np.float32)).to(device),
        torch.from_numpy(offsets).to(device),
    )  # fmt: skip
    return CellSampling(rows, frames, durations, samples * frames)


@lru_cache(maxsize=32)
def first_starts(
    starts: int, frames: int, durations: int, samples: int, kind: Sampling, device: str = "cpu"
) -> CellSampling:
    """The part of `cell_sampling` with the first `starts` starts; the weights are shared with the whole."""
    whole = cell_sampling(frames, durations, samples, kind, device)
    if starts == frames:
        return whole
    return CellSampling(whole.rows.first(starts * durations), starts, durations, whole.columns)


def _points(
    frames: int, durations: int, samples: int, kind: Sampling
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Where each cell's points lie, in frames, and which count: (T, D, N) each."""
    t = np.arange(frames, dtype=np.float64)[:, None]
    d = np.arange(durations, dtype=np.float64)[None]
    begin = t + 0 * d
    end = (d + 1) + 0 * t if kind == "published" else t + d + 1
    length = end - begin
    a, b = begin - length / 2, end + length / 2
    # In float64 and not cumulatively: whether a point lies on a frame must not depend on rounding.
    at = a[..., None] + np.arange(samples) * (b - a)[..., None] / (samples - 1)
    real = (t < frames - 1) & (d < np.minimum(frames - 1 - t, durations))
    return at, real[..., None] & (at >= 0) & (at <= frames - 1)
