"""Codecs of low bit rate as forgers: a word > coded and decoded > aligned with the word, in its level and bandwidth.

Codec2 (Debian's package `codec2`) models a voice by pitch, voicing and envelope at 8 kHz. Opus comes with PyAV. The band that a
codec leaves out is taken from the original word, so that bandwidth alone does not give a forged word away.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from forging.debian import Program, find_program
from forging.forgers import match_level

from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Samples = npt.NDArray[np.float32]

CODEC2_RATE = 8000
CODEC2_DELAYS_MS = {"3200": 20.0, "1300": 20.5, "700C": 32.0}
"""By mode: the delay of the decoded envelope, measured on recorded speech."""
OPUS_BIT_RATES = (6000, 12000)
NARROW_BAND_HZ = (3200.0, 3600.0)
WIDE_BAND_BIT_RATE = 10_000
PADDING = DEFAULT_SAMPLE_RATE // 20


class Codec2(NamedTuple):
    """The two programs of Codec2, as a forger of words: samples (N,) → (N,)."""

    encoder: Program
    decoder: Program

    @classmethod
    def fetch(cls, folder: Path) -> Codec2:
        """Find or unpack the programs.

        Raises:
            AvlocError: if Debian's package cannot be had.
        """
        encoder, decoder = (find_program(name, "codec2", folder) for name in ("c2enc", "c2dec"))
        return cls(encoder, decoder)

    def __call__(self, samples: Samples) -> Samples:
        """Code a word in one of the modes of `CODEC2_DELAYS_MS`, drawn by its length."""
        modes = [*CODEC2_DELAYS_MS]
        return self.code(samples, modes[len(samples) // 320 % len(modes)])

    def code(self, samples: Samples, mode: str) -> Samples:
        """Code and decode a word in a mode: 3200, 1300 or 700C bits per second."""
        from scipy.signal import resample_poly

        narrow = resample_poly(np.pad(samples, (PADDING, 2 * PADDING)), CODEC2_RATE, DEFAULT_SAMPLE_RATE)
        pcm = np.clip(np.rint(narrow * 32767), -32768, 32767).astype("<i2").tobytes()
        coded = self.decoder.run(mode, "-", "-", stdin=self.encoder.run(mode, "-", "-", stdin=pcm))
        wide = resample_poly(np.frombuffer(coded, "<i2") / 32768, DEFAULT_SAMPLE_RATE, CODEC2_RATE)
        first = PADDING + round(CODEC2_DELAYS_MS[mode] / 1000 * DEFAULT_SAMPLE_RATE)
        decoded = match_level(_fit(wide[first:], len(samples)), low_band(samples))
        return match_level(decoded + samples - low_band(samples), samples)


def opus(samples: Samples) -> Samples:
    """Code a word by Opus at one of `OPUS_BIT_RATES`, drawn by its length."""
    return code_opus(samples, OPUS_BIT_RATES[len(samples) // 320 % len(OPUS_BIT_RATES)])


def code_opus(samples: Samples, bit_rate: int) -> Samples:
    """Code and decode a word by Opus at a bit rate, in bits per second."""
    padded = np.pad(samples, (PADDING, 2 * PADDING)).astype(np.float32)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as container:
        options = {"application": "voip", "vbr": "off"}
        stream = container.add_stream("libopus", rate=DEFAULT_SAMPLE_RATE, layout="mono", options=options)
        stream.bit_rate = bit_rate
        pcm = np.clip(np.rint(padded * 32767), -32768, 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
        frame.rate = DEFAULT_SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    decoded = match_level(_fit(_decode_ogg(buffer)[PADDING:], len(samples)), samples)
    if bit_rate < WIDE_BAND_BIT_RATE:
        decoded = low_band(decoded) + samples - low_band(samples)
    return match_level(decoded, samples)


def _decode_ogg(buffer: io.BytesIO) -> Samples:
    """Decode to 16 kHz; the decoder leaves out the encoder's delay, as stated in the file's header."""
    buffer.seek(0)
    resampler = av.AudioResampler("flt", "mono", DEFAULT_SAMPLE_RATE)
    with av.open(buffer) as container:
        blocks = [block for frame in (*container.decode(audio=0), None) for block in resampler.resample(frame)]
    return np.concatenate([block.to_ndarray().ravel() for block in blocks])


def _fit(samples: npt.NDArray[np.floating], length: int) -> Samples:
    """Cut samples, or pad them by silence, to a length."""
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)


def low_band(samples: Samples) -> Samples:
    """The part of samples (N,) below `NARROW_BAND_HZ`, with a smooth edge and no delay."""
    spectrum = np.fft.rfft(samples)
    low, high = NARROW_BAND_HZ
    frequencies = np.fft.rfftfreq(len(samples), 1 / DEFAULT_SAMPLE_RATE)
    gain = np.clip((high - frequencies) / (high - low), 0, 1)
    return np.fft.irfft(spectrum * gain, len(samples)).astype(np.float32)
