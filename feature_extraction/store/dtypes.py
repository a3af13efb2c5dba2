"""Types of the numbers in a store: float16 for features, int16 and uint8 for samples and pixels, which stay exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError

StoredArray = npt.NDArray[np.float16] | npt.NDArray[np.int16] | npt.NDArray[np.uint8]


def storage_dtype(name: str) -> np.dtype[Any]:
    """Return the type of a description's `dtype` as a file holds it, little-endian.

    >>> storage_dtype("int16").str
    '<i2'
    """
    return np.dtype(name).newbyteorder("<")


def to_stored(values: npt.NDArray[Any], dtype: str = "float16") -> StoredArray:
    """Convert rows to the type that a store keeps.

    Args:
        values: rows of any type.
        dtype: `float16`: outliers past its largest number, ±65,504, are clipped; `int16` or `uint8`: the values must be whole
            numbers of its range already.

    Raises:
        AvlocError: if an integer type would change a value.

    >>> to_stored(np.array([1.5, 1e9])).tolist(), to_stored(np.array([-7.0, 300.0]), "int16").tolist()
    ([1.5, 65504.0], [-7, 300])
    """
    if dtype == "float16":
        return to_half(values)
    if values.dtype == np.dtype(dtype):
        return values
    with np.errstate(invalid="ignore"):  # of NaN, which differs from any whole number
        converted: StoredArray = values.astype(dtype)
    is_changed = converted != values
    if is_changed.any():
        raise AvlocError(f"want whole numbers that fit into {dtype}, got {values[is_changed].flat[0]}")
    return converted


def to_half(values: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """Convert values to float16; outliers past its largest number, ±65,504, are clipped."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(values, -limit, limit).astype(np.float16)


def as_features(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert stored rows to those that are worked with: float16 to float32; whole numbers stay as they are."""
    if values.dtype.kind != "f":
        return values
    import torch

    # torch converts half to single precision ten times as fast as numpy.
    rows: npt.NDArray[np.float32] = torch.from_numpy(values).float().numpy()
    return rows
