"""The recording of a source: the room, the noise, the codec and the camera, the same for its real and its forged clips.

    words > room > noise > codec > level

Nothing moves: the direct sound comes first in the room, and a codec's delay is measured and taken back.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Samples = npt.NDArray[np.float32]
Random = np.random.Generator

FPS = (Fraction(25), Fraction(30000, 1001), Fraction(30))
LATE_SHARE, LATEST_MS = 2 / 3, 39  # of the sources whose picture starts after the sound
ROOM_SHARE, CODEC_SHARE = 0.5, 0.4
REVERBERATION_S = (0.1, 0.5)
DIRECT_DB = (4.0, 18.0)  # of the direct sound over the room's
SNR_DB = (18.0, 45.0)
LONGEST_DELAY = DEFAULT_SAMPLE_RATE // 4  # of a codec, in samples


class Codec(NamedTuple):
    """A codec of a clip's sound, before the one of its file.

    Attributes:
        encoder: FFmpeg's name.
        container: of the stream.
        bit_rates: from which one is drawn, bits per second.
    """

    encoder: str
    container: str
    bit_rates: tuple[int, ...]


CODECS = {
    "opus": Codec("libopus", "ogg", (24_000, 32_000, 48_000)),
    "mp3": Codec("libmp3lame", "mp3", (40_000, 56_000, 64_000)),
    "aac": Codec("aac", "adts", (40_000, 48_000, 64_000)),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """Conditions of a source.

    Attributes:
        fps: frames per second.
        video_start_s: time of the first frame; the first sample is at 0.
        crf: of x264.
        audio_bit_rate: of the file's AAC, bits per second.
        grain: of the camera, grey levels.
        reverberation_s: the room's reverberation time, to −60 dB; 0: no room.
        direct_db: direct sound over the room's.
        room_seed: of the room's echoes.
        snr_db: words over noise.
        colour: the noise's power falls as frequency to this power.
        codec: a key of `CODECS`, or empty.
        bit_rate: of the codec, bits per second.
        gain_db: of the whole clip.
    """

    fps: Fraction
    video_start_s: float
    crf: int
    audio_bit_rate: int
    grain: float
    reverberation_s: float
    direct_db: float
    room_seed: int
    snr_db: float
    colour: float
    codec: str
    bit_rate: int
    gain_db: float

    @classmethod
    def draw(cls, rng: Random) -> Recording:
        """Draw conditions at random."""
        codec = str(rng.choice([*CODECS])) if rng.random() < CODEC_SHARE else ""
        late_s = int(rng.integers(1, LATEST_MS + 1)) / 1000
        return cls(
            fps=FPS[rng.integers(len(FPS))],
            video_start_s=late_s if rng.random() < LATE_SHARE else 0.0,
            crf=int(rng.integers(19, 28)),
            audio_bit_rate=int(rng.choice([48_000, 64_000, 96_000])),
            grain=float(rng.uniform(3, 6)),
            reverberation_s=float(rng.uniform(*REVERBERATION_S)) if rng.random() < ROOM_SHARE else 0.0,
            direct_db=float(rng.uniform(*DIRECT_DB)),
            room_seed=int(rng.integers(2**31)),
            snr_db=float(rng.uniform(*SNR_DB)),
            colour=float(rng.uniform(0, 2)),
            codec=codec,
            bit_rate=int(rng.choice(CODECS[codec].bit_rates)) if codec else 0,
            gain_db=float(rng.uniform(-4, 2)),
        )

    def record(self, rng: Random, samples: Samples) -> Samples:
        """Record words: (N,) → (N,); the noise is drawn from `rng`."""
        level = np.sqrt(np.mean(samples.astype(np.float64) ** 2))
        if self.reverberation_s:
            samples = reverberate(samples, self.reverberation_s, self.direct_db, self.room_seed)
        noise = draw_noise(rng, len(samples), self.colour) * (level * 10 ** (-self.snr_db / 20))
        recorded = np.clip((samples + noise) * 10 ** (self.gain_db / 20), -1, 1).astype(np.float32)
        return transcode(recorded, self.codec, self.bit_rate) if self.codec else recorded


def reverberate(samples: Samples, reverberation_s: float, direct_db: float, seed: int) -> Samples:
    """Add the echoes of a room: (N,) → (N,). They are noise with an exponential decay.

    Args:
        samples: (N,) at 16 kHz.
        reverberation_s: time until the echoes have fallen by 60 dB.
        direct_db: energy of the direct sound over that of the echoes.
        seed: of the echoes.
    """
    from scipy.signal import fftconvolve

    length = max(2, round(reverberation_s * DEFAULT_SAMPLE_RATE))
    echoes = np.random.default_rng(seed).normal(0, 1, length) * 10 ** (-3 * np.arange(length) / length)
    echoes[: DEFAULT_SAMPLE_RATE // 500] = 0  # the nearest wall
    echoes *= 10 ** (-direct_db / 20) / np.sqrt((echoes**2).sum())
    echoes[0] = 1
    return fftconvolve(samples, echoes)[: len(samples)].astype(np.float32)


def draw_noise(rng: Random, length: int, colour: float) -> Samples:
    """Draw noise of root mean square 1 whose power falls as frequency to the power `colour`: (length,)."""
    spectrum = np.fft.rfft(rng.normal(0, 1, length))
    frequencies = np.fft.rfftfreq(length, 1 / DEFAULT_SAMPLE_RATE)
    noise = np.fft.irfft(spectrum * np.maximum(frequencies, 50) ** (-colour / 2), length)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def transcode(samples: Samples, codec: str, bit_rate: int) -> Samples:
    """Code and decode samples, in their place: (N,) → (N,).

    Args:
        samples: (N,) at 16 kHz.
        codec: a key of `CODECS`.
        bit_rate: bits per second.
    """
    encoder, container_format, _ = CODECS[codec]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=DEFAULT_SAMPLE_RATE, layout="mono")
        stream.bit_rate = bit_rate
        planar = np.ascontiguousarray(np.pad(samples, (0, LONGEST_DELAY)), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(planar[None], "fltp", "mono")
        frame.rate = DEFAULT_SAMPLE_RATE
        resampler = av.AudioResampler(stream.codec_context.format, "mono", DEFAULT_SAMPLE_RATE)
        for block in (*resampler.resample(frame), None):
            for packet in stream.encode(block):
                container.mux(packet)
    decoded = _decode(buffer, container_format)
    return _take_back_delay(decoded, samples)


def _decode(buffer: io.BytesIO, container_format: str) -> Samples:
    buffer.seek(0)
    resampler = av.AudioResampler("flt", "mono", DEFAULT_SAMPLE_RATE)
    with av.open(buffer, format=container_format.replace("adts", "aac")) as container:
        blocks = [block for frame in (*container.decode(audio=0), None) for block in resampler.resample(frame)]
    return np.concatenate([block.to_ndarray().ravel() for block in blocks])


def _take_back_delay(decoded: Samples, samples: Samples) -> Samples:
    """Shift decoded samples (M,) to the best correlation with the original (N,)."""
    size = 1 << (len(samples) + len(decoded) - 1).bit_length()
    correlation = np.fft.irfft(np.conj(np.fft.rfft(samples, size)) * np.fft.rfft(decoded, size), size)
    delays = np.arange(-LONGEST_DELAY, LONGEST_DELAY)
    delay = int(delays[np.argmax(correlation[delays])])
    moved = np.pad(decoded, (max(0, -delay), len(samples)))[max(0, delay) :]
    return moved[: len(samples)]
