"""The frames that each cell of a boundary map samples, as sparse weights: never a dense matrix, never a parameter.

For every cell (duration d, start t) N points are spread evenly from half a segment's length before the segment to half a
length after it, and each is read by linear interpolation. (Lin et al., "BMN", ICCV 2019, section 3.2; Cai et al., BA-TFD, 2022.)

Legend: T frames, D durations, N samples, S starts (the first S ≤ T of them), K width of a table's row.
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
    """A sparse matrix, stored by rows.

    Attributes:
        columns: column of each entry, int64.
        weights: value of each entry, float32.
        offsets: entries `offsets[r]` to `offsets[r + 1]` belong to row r.

    >>> rows = SparseRows(torch.tensor([0, 1, 1]), torch.tensor([1.0, 1.0, 0.5]), torch.tensor([0, 2, 3]))
    >>> (rows @ torch.tensor([[2.0], [4.0]])).flatten().tolist()
    [6.0, 2.0]
    >>> (rows.transposed(2) @ torch.tensor([[2.0], [4.0]])).flatten().tolist()
    [2.0, 4.0]
    """

    columns: Tensor
    weights: Tensor
    offsets: Tensor

    def __matmul__(self, table: Tensor) -> Tensor:
        """Multiply with a table (columns, K) float32: (rows, K)."""
        return embedding_bag(
            self.columns, table, self.offsets, mode="sum", per_sample_weights=self.weights, include_last_offset=True
        )

    def first(self, rows: int) -> SparseRows:
        """Return the first rows; nothing is copied."""
        end = int(self.offsets[rows])
        return SparseRows(self.columns[:end], self.weights[:end], self.offsets[: rows + 1])

    def slice(self, begin: int, end: int) -> SparseRows:
        """Return the rows from `begin` to `end`."""
        first, last = int(self.offsets[begin]), int(self.offsets[end])
        return SparseRows(
            self.columns[first:last], self.weights[first:last], self.offsets[begin : end + 1] - self.offsets[begin]
        )

    def transposed(self, columns: int) -> SparseRows:
        """Return the transposed matrix, of `columns` rows."""
        counts = self.offsets.diff()
        rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        order = torch.argsort(self.columns, stable=True)
        per_column = torch.bincount(self.columns, minlength=columns)
        offsets = torch.cat([per_column.new_zeros(1), per_column.cumsum(0)])
        return SparseRows(rows[order], self.weights[order], offsets)


class CellSampling:
    """The sampling of all cells with a start below S.

    Attributes:
        rows: (S·D, N·T), cell (t, d) in row t·D + d, sample n of frame f in column n·T + f.
        starts: S.
        durations: D.
        columns: N·T.

    >>> sampling = cell_sampling(frames=19, durations=6, samples=3, kind="proposal")
    >>> sampling(torch.ones(3 * 19, 2)).shape
    torch.Size([114, 2])
    """

    def __init__(self, rows: SparseRows, starts: int, durations: int, columns: int) -> None:
        self.rows, self.starts, self.durations, self.columns = rows, starts, durations, columns

    @cached_property
    def transposed_rows(self) -> SparseRows:
        """The transpose of `rows`, for the backward pass."""
        return self.rows.transposed(self.columns)

    def __call__(self, table: Tensor) -> Tensor:
        """Return each cell's weighted sum of a table's rows: (N·T, K) float32 → (S·D, K)."""
        if table.requires_grad and torch.is_grad_enabled():
            sampled: Tensor = _Sample.apply(table, self)  # type: ignore[no-untyped-call]
            return sampled
        return self.rows @ table


class _Sample(torch.autograd.Function):
    """A product with fixed sparse weights. Its gradient is a second product, many times faster than that of `embedding_bag`."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, sampling: CellSampling) -> Tensor:
        ctx.sampling = sampling
        return sampling.rows @ table

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.sampling.transposed_rows @ gradient.contiguous(), None


@lru_cache(maxsize=8)
def cell_sampling(frames: int, durations: int, samples: int, kind: Sampling, device: str = "cpu") -> CellSampling:
    """Return the sampling of a whole map, S = T; it is computed once per process and device.

    Args:
        frames: T, at least 2.
        durations: D.
        samples: N, at least 2.
        kind: `proposal` samples around the cell's segment [t, t + d + 1]. `published` reproduces the sampling that the released
            weights were trained with: it takes [t, d + 1] for the segment, whose length may be negative, and a point that
            falls on a frame counts twice.
        device: of the tensors.

    Raises:
        AvlocError: if a size is too small, or `kind` is unknown.
    """
    if frames < 2 or durations < 1 or samples < 2 or kind not in SAMPLINGS:
        raise AvlocError(
            f"want frames ≥ 2, durations ≥ 1, samples ≥ 2 and sampling of {', '.join(SAMPLINGS)}, "
            f"got {frames}, {durations}, {samples} and {kind!r}"
        )
    positions, inside = _points(frames, durations, samples, kind)
    points = positions[inside]
    low, high = np.floor(points), np.ceil(points)
    fraction = points - low
    n = np.broadcast_to(np.arange(samples), inside.shape)[inside]
    high_weights = 1 - (high - points) if kind == "published" else fraction
    columns = np.stack([n * frames + neighbour.astype(np.int64) for neighbour in (low, high)], axis=1)
    weights = np.stack([1 - fraction, high_weights], axis=1)
    used = weights != 0
    counts = np.zeros(inside.shape, dtype=np.int64)
    counts[inside] = used.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts.sum(axis=2).reshape(-1))])
    rows = SparseRows(
        torch.from_numpy(columns[used]).to(device),
        torch.from_numpy(weights[used].astype(np.float32)).to(device),
        torch.from_numpy(offsets).to(device),
    )
    return CellSampling(rows, frames, durations, samples * frames)


@lru_cache(maxsize=32)
def first_starts(
    starts: int, frames: int, durations: int, samples: int, kind: Sampling, device: str = "cpu"
) -> CellSampling:
    """Return the first `starts` starts of `cell_sampling`, which takes the other arguments; both share their weights."""
    whole = cell_sampling(frames, durations, samples, kind, device)
    if starts == frames:
        return whole
    return CellSampling(whole.rows.first(starts * durations), starts, durations, whole.columns)


def _points(
    frames: int, durations: int, samples: int, kind: Sampling
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the positions of each cell's points, in frames, and a mask of those to sample: (T, D, N) each."""
    t = np.arange(frames, dtype=np.float64)[:, None]
    d = np.arange(durations, dtype=np.float64)[None]
    begin = t + 0 * d
    end = (d + 1) + 0 * t if kind == "published" else t + d + 1
    length = end - begin
    a, b = begin - length / 2, end + length / 2
    # In float64 and not cumulatively: rounding must not decide if a point lies on a frame.
    positions = a[..., None] + np.arange(samples) * (b - a)[..., None] / (samples - 1)
    is_cell = (t < frames - 1) & (d < np.minimum(frames - 1 - t, durations))
    return positions, is_cell[..., None] & (positions >= 0) & (positions <= frames - 1)
