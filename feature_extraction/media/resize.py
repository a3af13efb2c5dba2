"""Frames > the picture size of a network that resizes in its own way, exactly as torch does it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Resize = Literal["swscale", "bicubic", "nearest"]


def resize_frame(image: npt.NDArray[np.uint8], height: int, width: int, how: Resize) -> npt.NDArray[np.generic]:
    """Resize one frame (H, W, 3) uint8 to (height, width, 3).

    Args:
        image: the frame.
        height: pixels.
        width: pixels.
        how: `bicubic` gives float32 in about [0, 1], without antialiasing and with `align_corners=False`, the input of
            BA-TFD; `nearest` gives uint8, the pixels that torch's `interpolate` picks.

    >>> resize_frame(np.zeros((4, 6, 3), np.uint8), 2, 3, "nearest").shape
    (2, 3, 3)
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    if how == "nearest":
        resized = interpolate(pixels, (height, width), mode="nearest")
    else:
        resized = interpolate(pixels.float() / 255, (height, width), mode="bicubic", align_corners=False)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
