"""Audio frames of any rate, layout and format > one channel at a fixed rate.

One channel stays as it is, two are averaged. More are mixed as ITU-R BS.775 mixes them to stereo (the centre and the surrounds at
−3 dB, the low-frequency channel left out), and both sides are averaged:

    0.5 (L + R) + 0.707 C + 0.354 (each surround channel)

Speech in the centre thus loses only 3 dB; a mean over six channels would take 15 dB from it. The weights are not
scaled to a sum of 1: a mix above full scale is clipped. Channels of an unknown layout are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SampleArray = npt.NDArray[np.float32]
"""(N,) samples."""

MOST_CHANNELS = 64  # FFmpeg's resampler takes no more
# A header of a few bytes can claim any rate. Far from those of sound, a resampler takes gigabytes.
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
LONGEST_FRAME_S = 100.0
STEREO = 2
FRONT, CENTRE, SURROUND = 0.5, math.sqrt(0.5), math.sqrt(0.5) / 2
WEIGHTS = {
    **dict.fromkeys(("FL", "FR", "DL", "DR", "FLC", "FRC", "WL", "WR"), FRONT),
    "BC": FRONT,  # BS.775 adds a single rear channel to both sides by 0.5
    **dict.fromkeys(("FC", "BFC"), CENTRE),
    **dict.fromkeys(("BL", "BR", "SL", "SR", "SDL", "SDR", "SSL", "SSR", "TTL", "TTR"), SURROUND),
    **dict.fromkeys(("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR", "TSL", "TSR", "BFL", "BFR"), SURROUND),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
"""Weight of a channel in the mix, by FFmpeg's name of its place."""


def downmix_weights(places: Sequence[str]) -> SampleArray:
    """Return the mixing weights of the channels: (C,).

    Args:
        places: FFmpeg's names of the channels' places.

    >>> downmix_weights(["FL", "FR", "FC", "LFE", "BL", "BR"]).round(3).tolist()
    [0.5, 0.5, 0.7070000171661377, 0.0, 0.3540000021457672, 0.3540000021457672]
    >>> downmix_weights(["NONE", "NONE", "NONE", "NONE"]).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    if len(places) <= STEREO or any(place not in WEIGHTS for place in places):
        return np.full(len(places), 1 / max(1, len(places)), np.float32)
    return np.array([WEIGHTS[place] for place in places], np.float32)


class MonoResampler:
    """Bring audio frames to one channel and one rate; a stream may change its rate, layout and format on the way.

    Args:
        sample_rate: samples per second of the result.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._resampler: Any = None
        self._kind: tuple[int, str, str] | None = None  # the rate, layout and format that the resampler was made for
        self._channels = 1
        self._weights: SampleArray | None = None  # None: the mean

    def push(self, frame: Any) -> Iterator[SampleArray]:
        """Add an audio frame of PyAV's, and yield the samples that are ready.

        Raises:
            ValueError: if the frame has more than `MOST_CHANNELS` channels, a rate outside of `LOWEST_RATE` to `HIGHEST_RATE`, or
                is longer than `LONGEST_FRAME_S`.
        """
        _check_frame(frame)
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if kind != self._kind:
            yield from self.finish()
            self._start(frame)
            self._kind = kind
        for out in self._resampler.resample(frame):
            yield self._mix(out)

    def finish(self) -> Iterator[SampleArray]:
        """Yield the samples that the resampler still buffers."""
        if self._resampler is not None:
            for out in self._resampler.resample(None):
                yield self._mix(out)
        self._resampler = self._kind = None

    def _start(self, frame: Any) -> None:
        import av

        self._channels = frame.layout.nb_channels
        # Channels stay apart here: FFmpeg's own downmix depends on the formats. PyAV reads past the end of planar frames of
        # many channels, so that these are interleaved.
        if self._channels <= STEREO:
            self._resampler, self._weights = av.AudioResampler(format="fltp", rate=self.sample_rate), None
        else:
            self._resampler = av.AudioResampler(format="flt", rate=self.sample_rate)
            self._weights = downmix_weights([channel.name for channel in frame.layout.channels])

    def _mix(self, frame: Any) -> SampleArray:
        samples: SampleArray = frame.to_ndarray()
        if self._weights is None:
            return samples.mean(axis=0, dtype=np.float32)
        return samples.reshape(-1, self._channels) @ self._weights


def _check_frame(frame: Any) -> None:
    """Raise if a frame is outside of the limits."""
    channels, rate = frame.layout.nb_channels, frame.sample_rate
    if not 0 < channels <= MOST_CHANNELS:
        raise ValueError(f"want 1 to {MOST_CHANNELS} channels, got {channels}")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(f"want {LOWEST_RATE} to {HIGHEST_RATE} samples per second, got {rate}")
    if frame.samples > LONGEST_FRAME_S * rate:
        raise ValueError(f"want at most {LONGEST_FRAME_S:g} s per frame, got {frame.samples / rate:.0f} s")
