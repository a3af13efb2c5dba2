"""Samples > a codec of PyAV's, in memory > samples at the same times.

Each codec delays the sound by its own frames and filters. The delay is measured once per process, by correlation on made speech,
and taken back; it does not depend on the clip, so silence and tones are not moved.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random, Samples, SoundAugmentation
from avloc.augment.sound.folders import to_sample_rate
from avloc.augment.sound.synthesis import make_babble
from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError

Waveform = npt.NDArray[np.floating]

LONGEST_DELAY_S = 0.25
PROBE_S = 2.0


class Codec(NamedTuple):
    """A codec and its stream.

    Attributes:
        encoder: FFmpeg's name.
        container: FFmpeg's name of the stream's format, for writing.
        sample_rate: of the coded sound, in hertz.
        bit_rates: allowed rates, in bits per second; a single one is the codec's own.
        reader: FFmpeg's name of the format for reading, if it is another.
    """

    encoder: str
    container: str
    sample_rate: int
    bit_rates: tuple[int, ...]
    reader: str = ""


CODECS = {
    "opus": Codec("libopus", "ogg", 16_000, (6_000, 8_000, 12_000, 16_000, 24_000, 32_000, 48_000, 64_000)),
    "mp3": Codec("libmp3lame", "mp3", 16_000, (16_000, 24_000, 32_000, 48_000, 64_000, 96_000)),
    "aac": Codec("aac", "adts", 16_000, (16_000, 24_000, 32_000, 48_000, 64_000, 96_000), "aac"),
    "g722": Codec("g722", "g722", 16_000, (64_000,)),
    "g723": Codec("g723_1", "g723_1", 8_000, (6_300,)),
    "g726": Codec("g726", "wav", 8_000, (16_000, 24_000, 32_000, 40_000)),
    "amr_nb": Codec("libopencore_amrnb", "amr", 8_000, (4_750, 5_150, 5_900, 6_700, 7_400, 7_950, 10_200, 12_200)),
    "alaw": Codec("pcm_alaw", "wav", 8_000, (64_000,)),
    "mulaw": Codec("pcm_mulaw", "wav", 8_000, (64_000,)),
    "adpcm": Codec("adpcm_ima_wav", "wav", 16_000, (64_000,)),
}
"""By name: three codecs of media, the telephone's, and ADPCM. Those at 8 kHz leave nothing above 4 kHz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundCodec(SoundAugmentation):
    """A codec's round trip; nothing moves by more than a millisecond.

    Attributes:
        codec: a key of `CODECS`.
        bit_rate: one of the codec's bit rates, bits per second; 0: drawn from these.

    >>> SoundCodec(codec="g722")(np.random.default_rng(1), np.ones(1000, np.float32)).shape
    (1000,)
    """

    CHOICES: ClassVar[Mapping[str, tuple[Any, ...]]] = {"codec": tuple(CODECS)}

    codec: str = "opus"
    bit_rate: int = 0

    def check(self) -> None:
        bit_rates = CODECS[self.codec].bit_rates
        if self.bit_rate not in (0, *bit_rates):
            raise AvlocError(f"want bit_rate of {', '.join(map(str, bit_rates))} for {self.codec}, got {self.bit_rate}")

    def change(self, rng: Random, samples: Samples) -> Samples:
        return transcode(samples, self.codec, self.bit_rate or int(rng.choice(CODECS[self.codec].bit_rates)))


def available_codecs() -> tuple[str, ...]:
    """List the codecs that this build of PyAV can encode and decode."""
    return tuple(name for name in CODECS if not _missing(name))


def _missing(codec: str) -> bool:
    import av

    encoder = CODECS[codec].encoder
    try:
        decoder = av.codec.Codec(encoder, "w").canonical_name
        av.codec.Codec(decoder, "r")
    except av.codec.codec.UnknownCodecError:
        return True
    return False


def transcode(samples: Samples, codec: str, bit_rate: int) -> Samples:
    """Code and decode samples, each in its place: (N,) → (N,).

    Args:
        samples: (N,) at 16 kHz; outside of [-1, 1] they are clipped.
        codec: a key of `CODECS`.
        bit_rate: one of the codec's, bits per second.

    Raises:
        AvlocError: if this build of PyAV lacks the codec.
    """
    delay = codec_delay(codec, bit_rate)
    decoded = _round_trip(samples, codec, bit_rate)
    placed = decoded[delay:] if delay >= 0 else np.pad(decoded, (-delay, 0))
    return np.pad(placed[: len(samples)], (0, max(0, len(samples) - len(placed)))).astype(np.float32)


@lru_cache(maxsize=256)
def codec_delay(codec: str, bit_rate: int) -> int:
    """Measure the delay of a codec's round trip, in samples at 16 kHz.

    Args:
        codec: a key of `CODECS`.
        bit_rate: one of the codec's, bits per second.

    Raises:
        AvlocError: if this build of PyAV lacks the codec.
    """
    if _missing(codec):
        encoder = CODECS[codec].encoder
        raise AvlocError(
            f"codec {codec}: this build of PyAV has no {encoder}; choose one of {', '.join(available_codecs())}"
        )
    probe = make_babble(np.random.default_rng(0), 1, int(PROBE_S * DEFAULT_SAMPLE_RATE))
    probe = (0.5 * probe / np.abs(probe).max()).astype(np.float32)
    decoded = _round_trip(probe, codec, bit_rate)
    size = 1 << (len(probe) + len(decoded) - 1).bit_length()
    correlation = np.fft.irfft(np.conj(np.fft.rfft(probe, size)) * np.fft.rfft(decoded, size), size)
    longest = int(LONGEST_DELAY_S * DEFAULT_SAMPLE_RATE)
    delays = np.arange(-longest, longest)
    return int(delays[np.argmax(correlation[delays])])


def _round_trip(samples: Samples, codec: str, bit_rate: int) -> Waveform:
    """Code and decode samples and a tail of silence, which pushes the last ones through the codec: (N,) → (M,) at 16 kHz."""
    padded = np.pad(np.clip(samples, -1, 1), (0, int(LONGEST_DELAY_S * DEFAULT_SAMPLE_RATE)))
    coded = _encode(to_sample_rate(padded, DEFAULT_SAMPLE_RATE, CODECS[codec].sample_rate), codec, bit_rate)
    decoded, sample_rate = _decode(coded, CODECS[codec].reader or CODECS[codec].container)
    return to_sample_rate(decoded, sample_rate)


def _encode(samples: Waveform, codec: str, bit_rate: int) -> io.BytesIO:
    """Code samples (N,) at the codec's rate into a file in memory."""
    import av

    encoder, container_format, sample_rate, *_ = CODECS[codec]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream: Any = container.add_stream(encoder, rate=sample_rate, layout="mono")
        stream.bit_rate = bit_rate
        formats = [audio_format.name for audio_format in stream.codec_context.codec.audio_formats]
        sample_format = next((name for name in formats if name in ("flt", "fltp")), formats[0])
        stream.codec_context.format = sample_format
        values = samples.astype(np.float32)
        if sample_format not in ("flt", "fltp"):
            values = np.clip(np.rint(values * 32767), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values[None]), sample_format, "mono")
        frame.sample_rate = sample_rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    buffer.seek(0)
    return buffer


def _decode(buffer: io.BytesIO, container_format: str) -> tuple[Waveform, int]:
    """Decode a file in memory: (M,) samples, and their rate."""
    import av

    blocks = []
    with av.open(buffer, "r", format=container_format) as container:
        for frame in container.decode(audio=0):
            values = frame.to_ndarray().ravel()
            blocks.append(values / np.float32(32768) if values.dtype == np.int16 else values)
            sample_rate = frame.sample_rate
    return np.concatenate(blocks), sample_rate
