"""Decoded parts > a strip of small pictures and the loudness, so many at the most however long the clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.media.types import Clip, Crop, VideoFormat

SIDE = 72
PICTURES = 40  # at the most; at least half as many once the clip is long
PEAKS = 3000
FIRST_INTERVAL_S, FIRST_PEAK_S = 0.2, 0.005


class Preview:
    """What a person is shown of a clip beside the findings.

    Args:
        crop: what the network looks at is what is shown; of a network that takes the whole frame, its central square.

    Attributes:
        format: the pictures that it wants to see.
        strip: when each is shown, in seconds, and the picture (SIDE, SIDE, 3) uint8.
        interval_s: between them.
        peak_s: seconds that each loudness is of.
        start_s: when the sound begins.
    """

    def __init__(self, crop: Crop = "none") -> None:
        self.format = VideoFormat(SIDE, SIDE, crop="center" if crop == "none" else crop)
        self.strip: list[tuple[float, npt.NDArray[Any]]] = []
        self.interval_s, self.peak_s, self.start_s = FIRST_INTERVAL_S, FIRST_PEAK_S, 0.0
        self._next_s: float | None = None
        self._peaks: list[float] = []
        self._rest = np.zeros(0, np.float32)

    def __call__(self, part: Clip) -> None:
        """See a part."""
        frames = part.frames.get(self.format)
        if frames is not None:
            for k, time_s in enumerate(part.video_grid.centers_s().tolist()):
                if self._next_s is None or time_s >= self._next_s - 1e-6:
                    self.strip.append((time_s, frames[k].copy()))
                    self._next_s = time_s + self.interval_s
            while len(self.strip) > PICTURES:
                self.strip, self.interval_s = self.strip[::2], 2 * self.interval_s
                self._next_s = self.strip[-1][0] + self.interval_s
        if part.samples is not None:
            self._hear(part.samples, part.audio_start_s, part.sample_rate)

    def _hear(self, samples: npt.NDArray[np.float32], start_s: float, rate: int) -> None:
        if not self._peaks and not len(self._rest):
            self.start_s = start_s
        heard = np.concatenate([self._rest, np.abs(samples)])
        size = round(self.peak_s * rate)
        count = len(heard) // size
        self._peaks += heard[: count * size].reshape(count, size).max(axis=1).tolist()
        self._rest = heard[count * size :]
        while len(self._peaks) > PEAKS:
            pairs = len(self._peaks) // 2 * 2
            odd = self._peaks[pairs:]
            self._peaks = np.array(self._peaks[:pairs]).reshape(-1, 2).max(axis=1).tolist()
            self.peak_s *= 2
            # One that has no other half yet waits as if it were the beginning of the next.
            self._rest = np.concatenate([np.repeat(np.array(odd, dtype=np.float32), size), self._rest]).astype(
                np.float32
            )
            size *= 2

    def loudness(self) -> npt.NDArray[np.float64]:
        """The largest sample of every `peak_s` from `start_s` on: (N,) in [0, 1]."""
        return np.array([*self._peaks, *([float(self._rest.max())] if len(self._rest) else [])])
