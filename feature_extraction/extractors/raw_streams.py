"""The sound and the mouth themselves, without loss, for networks that learn their own features from them.

Training through a front end reads them like any features: at random, in any process, without decoding media. Whole numbers stay
whole numbers from the decoder to the network (`Extractor.dtype`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, FULL_SCALE, SAMPLES_PER_ROW
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.video import FACE_VERSION
from avloc.feature_extraction.media.cropping import needs_face, parse_crop
from avloc.feature_extraction.media.types import VideoFormat

LARGEST_SIDE = 512


class Waveform(Extractor):
    """The sound: 16 bits at 16 kHz, one channel, as rows of 160 samples, 100 rows/s.

    Rows instead of single samples, so that masks, windows and batches treat them as any stream. They lie on the clock of
    `logspec`. Sound of 16 kHz and 16 bits is kept as it is; other sound as the decoder resampled it, rounded. The last row is
    filled with silence.

    >>> Waveform().rows([np.float32([0.25, -1.0, 2.0])])[0][0, :4].tolist()
    [8192, -32768, 32767, 0]
    """

    name = "waveform"
    modality = "audio"
    hop_s = SAMPLES_PER_ROW / DEFAULT_SAMPLE_RATE
    dim = SAMPLES_PER_ROW
    receptive_field_s = hop_s
    dtype = "int16"

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(samples) for samples in streams]

    def _rows(self, samples: Stream) -> FeatureArray:
        whole = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        return np.pad(whole, (0, -len(whole) % SAMPLES_PER_ROW)).reshape(-1, SAMPLES_PER_ROW)


class Mouth(Extractor):
    """The mouth: grey crops of 8 bits, 25 per second, row by row of their pixels.

    Args:
        side: pixels of the crop's side.
        crop: `mouth`, `face`, `center` or `none` (the whole picture, squeezed).

    Raises:
        AvlocError: if the side is out of range, or the crop unknown.

    >>> Mouth().dim
    9216
    """

    name = "mouth"
    modality = "visual"
    hop_s = 1 / DEFAULT_FPS
    receptive_field_s = hop_s
    window_s = 10.0
    dtype = "uint8"
    shares_crop = False  # the mouth is a crop itself

    def __init__(self, *, side: int = 96, crop: str = "mouth") -> None:
        if not 1 <= side <= LARGEST_SIDE:
            raise AvlocError(f"extractor {self.name}: side must be 1 to {LARGEST_SIDE}, got {side}")
        self.side, self.crop = side, parse_crop(crop)
        self.dim = side * side
        self.version = FACE_VERSION if needs_face(self.crop) else 1

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(self.side, self.side, "gray", crop=self.crop)

    def parameters(self) -> Parameters:
        return {"side": self.side, "crop": self.crop}

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [frames.reshape(len(frames), self.dim) for frames in streams]
