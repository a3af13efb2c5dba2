"""Matrices in four bits: each 64 numbers of a row share a scale > codes of −8 to 7, two in a byte.

Legend: O rows (outputs), I numbers per row (inputs), G = 64 numbers of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError

GROUP = 64
LOWEST, HIGHEST = -8, 7
LARGEST = 65_504  # of half precision
SCALES_TRIED = np.linspace(0.6, 1.05, 19)
"""Parts of the scale at which the largest number of a group has the outermost code: a smaller one cuts it, and is finer."""
CODES, SCALES = "/codes", "/scales"
"""Ends of the names of a packed matrix's two arrays."""

Array = npt.NDArray[Any]


def quantize(matrix: Array) -> tuple[Array, Array]:
    """Round each group of a matrix to sixteen steps, at the scale with the least squared error of those that are tried.

    Args:
        matrix: (O, I), where I is a multiple of `GROUP`.

    Returns:
        Codes (O, I / 2) uint8, the earlier one in the lower four bits, and scales (O, I / G) float16.

    Raises:
        AvlocError: if the rows cannot be split into groups, or a number is not finite, or too large for half precision.

    >>> codes, scales = quantize(np.tile(np.arange(-8, 8), 4)[None] / 4)
    >>> codes.shape, float(scales[0, 0])
    ((1, 32), 0.25)
    """
    if matrix.ndim != 2 or matrix.shape[1] % GROUP:
        raise AvlocError(f"want a matrix whose rows are a multiple of {GROUP} long, got {matrix.shape}")
    if not np.abs(matrix).max(initial=0) < LARGEST:
        raise AvlocError(f"want numbers of a magnitude under {LARGEST}, got {np.abs(matrix).max()}")
    groups = matrix.reshape(len(matrix), -1, GROUP).astype(np.float32)
    outermost = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)
    best = np.zeros_like(outermost)
    error = np.full_like(outermost, np.inf)
    for part in SCALES_TRIED:
        # The largest number gets the lowest code or the highest; a scale may be negative.
        for code in (LOWEST, HIGHEST):
            scale = _storable(outermost * part / code)
            loss = np.square(_codes(groups, scale) * scale - groups).sum(-1, keepdims=True)
            best, error = np.where(loss < error, scale, best), np.minimum(loss, error)
    codes = (_codes(groups, best) - LOWEST).astype(np.uint8).reshape(len(matrix), -1, 2)
    return codes[..., 0] | codes[..., 1] << 4, best[..., 0].astype(np.float16)


def dequantize(codes: Array, scales: Array) -> Array:
    """The matrix (O, I) float32 of codes and scales.

    Raises:
        ValueError: if there is not one scale per group.

    >>> dequantize(*quantize(np.tile(np.arange(-8, 8), 4)[None] / 4))[0, :5].tolist()
    [-2.0, -1.75, -1.5, -1.25, -1.0]
    """
    if scales.shape != (len(codes), 2 * codes.shape[1] // GROUP):
        raise ValueError(f"want a scale per group, {(len(codes), 2 * codes.shape[1] // GROUP)}, got {scales.shape}")
    numbers = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1, GROUP).astype(np.float32) + LOWEST
    matrix: Array = (numbers * scales.astype(np.float32)[..., None]).reshape(len(codes), -1)
    return matrix


def pack(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Quantize the arrays of a network whose rows can be split into groups; the others get half precision.

    >>> sorted(pack({"a.weight": np.ones((3, 128)), "a.bias": np.ones(3)}))
    ['a.bias', 'a.weight/codes', 'a.weight/scales']
    """
    packed: dict[str, Array] = {}
    for name, values in weights.items():
        matrix = values.reshape(len(values), -1)
        if values.ndim > 1 and matrix.shape[1] % GROUP == 0:
            packed[name + CODES], packed[name + SCALES] = quantize(matrix)
        else:
            packed[name] = values.astype(np.float16)
    return packed


def unpack(packed: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of `pack` in float32; those of more than two dimensions are matrices (O, I).

    >>> unpack(pack({"a.weight": np.ones((3, 128)), "a.bias": np.ones(3)}))["a.weight"].shape
    (3, 128)
    """
    arrays = {}
    for name, values in packed.items():
        if name.endswith(CODES):
            whole = name.removesuffix(CODES)
            arrays[whole] = dequantize(values, packed[whole + SCALES])
        elif not name.endswith(SCALES):
            arrays[name] = values.astype(np.float32)
    return arrays


def _storable(scale: Array) -> Array:
    """The scale as it is stored; 1 for a group of zeros."""
    stored = scale.astype(np.float16).astype(np.float32)
    return np.where(stored == 0, np.float32(1), stored)


def _codes(groups: Array, scale: Array) -> Array:
    codes: Array = np.clip(np.rint(groups / scale), LOWEST, HIGHEST)
    return codes
