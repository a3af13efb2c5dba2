"""Dense optical flow without weights: grey frames > OpenCV's DIS > a grid of cells.

Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.motion.flow_grid import PLANES, check_grid, pool_flow
from avloc.feature_extraction.extractors.video import FACE_VERSION
from avloc.feature_extraction.media.cropping import needs_face, parse_crop
from avloc.feature_extraction.media.types import VideoFormat

PRESETS = ("ultrafast", "fast", "medium")
SMALLEST_SIZE, LARGEST_SIZE = 64, 1024


class Flow(Extractor):
    """Motion since the frame before, on a grid of cells: 25 rows/s, `PLANES` · cells² numbers; zeros for the first frame.

    Needs OpenCV (`pip install 'avloc[flow]'`).

    Args:
        size: the side of the picture, a multiple of 8 and of cells.
        cells: cells per side.
        preset: of the search: `ultrafast`, `fast` or `medium`.
        crop: `none` (the whole picture, squeezed), `center`, `face` or `mouth`. A crop follows the face and hides its motion.

    Raises:
        AvlocError: if an argument has no valid value; on use, without OpenCV.

    >>> Flow(size=128, cells=4).dim
    48
    """

    name = "flow"
    modality = "visual"
    hop_s = 1 / DEFAULT_FPS
    receptive_field_s = 2 / DEFAULT_FPS
    shares_crop = False  # one that follows the face hides its motion

    def __init__(self, *, size: int = 192, cells: int = 8, preset: str = "fast", crop: str = "none") -> None:
        check_grid(self.name, size, cells, fewest=SMALLEST_SIZE, most=LARGEST_SIZE)
        if preset not in PRESETS:
            raise AvlocError(f"extractor {self.name}: preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        self.size, self.cells, self.preset, self.crop = size, cells, preset, parse_crop(crop)
        self.dim = PLANES * cells * cells
        self.version = FACE_VERSION if needs_face(self.crop) else 1

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(self.size, self.size, "gray", crop=self.crop)

    def parameters(self) -> Parameters:
        return {"size": self.size, "cells": self.cells, "preset": self.preset, "crop": self.crop}

    def load(self) -> None:
        _import_opencv()

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(frames) for frames in streams]

    def _rows(self, frames: Stream) -> FeatureArray:
        opencv = _import_opencv()
        search = opencv.DISOpticalFlow.create(getattr(opencv, f"DISOPTICAL_FLOW_PRESET_{self.preset.upper()}"))
        rows = np.zeros((len(frames), self.dim), np.float32)
        for k in range(1, len(frames)):
            rows[k] = pool_flow(search.calc(frames[k - 1], frames[k], None)[None], self.cells)[0]
        return rows


def _import_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise AvlocError(
            "extractor flow: needs OpenCV, which is missing or broken; install it: pip install 'avloc[flow]'"
        ) from error
    cv2.setNumThreads(1)  # clips are what runs side by side
    return cv2
