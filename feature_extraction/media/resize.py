"""Frames > the picture size of a network that wants them resized in its own way, exactly as torch does it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Resize = Literal["swscale", "bicubic", "nearest"]


def resize_frame(image: npt.NDArray[np.uint8], height: int, width: int, how: Resize) -> npt.NDArray[np.generic]:
    """One frame (H, W, 3) uint8 in another size.

    `bicubic`: float32 in about [0, 1], without antialiasing and with `align_corners=False`, as BA-TFD takes frames. `nearest`:
    uint8, as torch's `interpolate` picks pixels.
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    if how == "nearest":
        found = interpolate(pixels, (height, width), mode="nearest")
    else:
        found = interpolate(pixels.float() / 255, (height, width), mode="bicubic", align_corners=False)
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())
