"""Optical flow > its mean and its spread in each cell of a grid.

A forged mouth moves against the face around it, and a face that was pasted moves as one with seams at its edge. The mean of a
cell is the first, the spread within it the second.

Legend: N frames, S side of a frame, G cells per side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError

PLANES = 3
"""Numbers per cell: mean motion to the right, mean motion down, and root mean square distance from that mean."""

Float = npt.NDArray[np.float32]


def check_grid(name: str, size: int, cells: int, *, fewest: int, most: int) -> None:
    """Check the side of a picture and the number of cells.

    Raises:
        AvlocError: if the side is out of range, or no multiple of 8 and of the cells.
    """
    if cells < 1 or not fewest <= size <= most or size % cells or size % 8:
        raise AvlocError(
            f"extractor {name}: size must be a multiple of cells and of 8 from {fewest} to {most}, got size {size}, cells {cells}"
        )


def pool_flow(flow: npt.NDArray[np.floating], cells: int) -> Float:
    """Pool flow to a grid, in hundredths of the picture's side per frame.

    Args:
        flow: (N, S, S, 2) pixels to the right and down.
        cells: G, which divides S.

    Returns:
        (N, PLANES · G²): the planes of `PLANES` one after the other, each row by row.

    >>> pool_flow(np.full((1, 4, 4, 2), [0.04, -0.08]), cells=1).round(3).tolist()
    [[1.0, -2.0, 0.0]]
    """
    count, side = flow.shape[:2]
    relative = flow.astype(np.float32) * np.float32(100 / side)
    by_cell = relative.reshape(count, cells, side // cells, cells, side // cells, 2)
    mean = by_cell.mean(axis=(2, 4))  # N, G, G, 2
    spread = np.sqrt(((by_cell - mean[:, :, None, :, None]) ** 2).sum(axis=-1).mean(axis=(2, 4)))
    planes = np.stack([mean[..., 0], mean[..., 1], spread], axis=1)
    return planes.reshape(count, -1)
