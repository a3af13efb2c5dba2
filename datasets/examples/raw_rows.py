"""Rows of an example > samples or frames, and back: the streams `waveform` and `mouth` hold the sound and the picture themselves.

Legend: R rows of a stream's clock, D numbers per row, N samples, S side of a square frame.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, FULL_SCALE

Samples = npt.NDArray[np.float32]
Rows = npt.NDArray[np.generic]


def holds_samples(description: ExtractorDescription) -> bool:
    """Tell whether the rows of an extractor are sound at 16 kHz, as those of `waveform`.

    >>> holds_samples(ExtractorDescription("waveform", "audio", hop_s=0.01, dim=160, dtype="int16"))
    True
    """
    return description.modality == "audio" and are_samples(description.dtype, description.dim, description.hop_s)


def are_samples(dtype: npt.DTypeLike, dim: int, hop_s: float) -> bool:
    """Tell whether audio rows of a type, width and hop in seconds are sound at 16 kHz.

    >>> are_samples("int16", 160, 0.01), are_samples("float16", 160, 0.01), are_samples(np.int16, 80, 0.01)
    (True, False, False)
    """
    return np.dtype(dtype) == np.int16 and round(dim / hop_s) == DEFAULT_SAMPLE_RATE


def holds_frames(description: ExtractorDescription) -> bool:
    """Tell whether the rows of an extractor are square grey frames, as those of `mouth`.

    >>> holds_frames(ExtractorDescription("mouth", "visual", hop_s=0.04, dim=9216, dtype="uint8"))
    True
    """
    is_square = math.isqrt(description.dim) ** 2 == description.dim
    return description.modality == "visual" and description.dtype == "uint8" and is_square


def to_samples(rows: Rows) -> Samples:
    """Return the samples of rows (R, D) int16: (R · D,) float32 in [−1, 1).

    >>> to_samples(np.array([[16384, -32768]], np.int16)).tolist()
    [0.5, -1.0]
    """
    return rows.reshape(-1).astype(np.float32) * np.float32(1 / FULL_SCALE)


def from_samples(samples: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.int16]:
    """Return samples (R · D,) as rows of `width` D, the inverse of `to_samples`; louder ones than 1 are clipped.

    >>> from_samples(np.float32([0.5, -1.0, 3.0, 0.0]), 2).tolist()
    [[16384, -32768], [32767, 0]]
    """
    whole = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return whole.astype(np.int16).reshape(-1, width)


def to_frames(rows: Rows) -> npt.NDArray[np.uint8]:
    """Return the frames of rows (R, S · S) uint8: (R, S, S).

    >>> to_frames(np.zeros((3, 25), np.uint8)).shape
    (3, 5, 5)
    """
    side = math.isqrt(rows.shape[1])
    return rows.astype(np.uint8, copy=False).reshape(-1, side, side)
