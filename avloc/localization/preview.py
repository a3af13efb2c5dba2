"""Decoded parts of a clip > evenly spaced thumbnails and a loudness curve, both of bounded size however long the clip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.media.types import Clip, Crop, VideoFormat

SIDE = 72  # pixels of a thumbnail
MAX_THUMBNAILS = 40
MAX_PEAKS = 3000
FIRST_INTERVAL_S, FIRST_PEAK_S = 0.2, 0.005


class Still(NamedTuple):
    """One frame of a clip.

    Attributes:
        time_s: the middle of the frame on the file's own clock.
        image: (H, W, 3) uint8.
    """

    time_s: float
    image: npt.NDArray[np.uint8]


class Preview:
    """Thumbnails and loudness of a clip, collected while it is decoded.

    Spacing doubles whenever a limit is passed, so a long clip has between half the limit and the limit of each.

    Args:
        crop: the region that the network sees. For a network that sees the whole frame, the thumbnails show its central square.

    Attributes:
        format: the frames that the preview needs from the decoder.
        thumbnails: at most `MAX_THUMBNAILS` of SIDE × SIDE pixels, by time.
        interval_s: seconds between two thumbnails.
        peak_s: seconds per loudness value.
        audio_start_s: start of the audio, in seconds.

    >>> from pathlib import Path
    >>> preview = Preview()
    >>> preview(Clip(Path("x.wav"), 25, 16_000, samples=np.full(160, 0.5, np.float32)))
    >>> preview.loudness()
    array([0.5, 0.5])
    """

    def __init__(self, crop: Crop = "none") -> None:
        self.format = VideoFormat(SIDE, SIDE, crop="center" if crop == "none" else crop)
        self.thumbnails: list[Still] = []
        self.interval_s, self.peak_s, self.audio_start_s = FIRST_INTERVAL_S, FIRST_PEAK_S, 0.0
        self._next_s: float | None = None
        self._peaks: list[float] = []
        self._remainder = np.zeros(0, np.float32)  # samples that do not fill a peak yet

    def __call__(self, part: Clip) -> None:
        """Add the next decoded part: its frames in `format`, its samples, or both."""
        frames = part.frames.get(self.format)
        if frames is not None:
            self._add_frames(frames, part.video_grid.centers_s().tolist())
        if part.samples is not None:
            self._add_samples(part.samples, part.audio_start_s, part.sample_rate)

    def loudness(self) -> npt.NDArray[np.float64]:
        """Return the largest absolute sample per `peak_s`, from `audio_start_s` on: (N,) in [0, 1]."""
        return np.array([*self._peaks, *([float(self._remainder.max())] if len(self._remainder) else [])])

    def _add_frames(self, frames: npt.NDArray[np.uint8], times_s: list[float]) -> None:
        for k, time_s in enumerate(times_s):
            if self._next_s is None or time_s >= self._next_s - 1e-6:
                self.thumbnails.append(Still(time_s, frames[k].copy()))
                self._next_s = time_s + self.interval_s
        while len(self.thumbnails) > MAX_THUMBNAILS:
            self.thumbnails, self.interval_s = self.thumbnails[::2], 2 * self.interval_s
            self._next_s = self.thumbnails[-1].time_s + self.interval_s

    def _add_samples(self, samples: npt.NDArray[np.float32], start_s: float, sample_rate: int) -> None:
        if not self._peaks and not len(self._remainder):
            self.audio_start_s = start_s
        pending = np.concatenate([self._remainder, np.abs(samples)])
        size = round(self.peak_s * sample_rate)
        count = len(pending) // size
        self._peaks += pending[: count * size].reshape(count, size).max(axis=1).tolist()
        self._remainder = pending[count * size :]
        while len(self._peaks) > MAX_PEAKS:
            pairs = len(self._peaks) // 2 * 2
            unpaired = self._peaks[pairs:]
            self._peaks = np.array(self._peaks[:pairs]).reshape(-1, 2).max(axis=1).tolist()
            self.peak_s *= 2
            # An unpaired peak goes back to the samples and waits for its other half.
            waiting = np.repeat(np.array(unpaired, dtype=np.float32), size)
            self._remainder = np.concatenate([waiting, self._remainder]).astype(np.float32)
            size *= 2
