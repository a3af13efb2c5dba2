"""Generated clips in seven containers > damaged copies of them, the same for the same number."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

FPS, SAMPLE_RATE, SECONDS = 25, 48_000, 1.2
CODECS = {
    "mp4": ("libx264", "aac"),
    "mkv": ("libx264", "aac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "libmp3lame"),
    "ts": ("libx264", "aac"),
    "mpg": ("mpeg2video", "mp2"),
    "flv": ("flv", "libmp3lame"),
}
"""Container → the codecs of its picture and of its sound."""


def write_clip(path: Path, video: str, audio: str) -> None:
    """Write a clip of 1.2 s: a bright bar that moves, and a tone of 500 Hz."""
    import av

    rate = 44_100 if path.suffix == ".flv" else SAMPLE_RATE
    options = {"fflags": "+bitexact"}  # no random numbers in the header
    if path.suffix == ".mp4":
        options["movflags"] = "faststart"
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream(video, rate=FPS)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.gop_size = 10
        sound = container.add_stream(audio, rate=rate, layout="mono")
        for k in range(round(SECONDS * FPS)):
            image = np.full((48, 64, 3), 40, np.uint8)
            image[:, 2 * k : 2 * k + 6] = 220
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode())
        time_s = np.arange(round(SECONDS * rate)) / rate
        tone = (12_000 * np.sin(2 * np.pi * 500 * time_s)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16p", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=rate)
        for part in resampler.resample(frame):
            container.mux(sound.encode(part))
        container.mux(sound.encode())


def write_originals(folder: Path) -> list[Path]:
    """Write an undamaged clip in each container."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"clip.{container}" for container in CODECS]
    for path, codecs in zip(paths, CODECS.values(), strict=True):
        write_clip(path, *codecs)
    return paths


def write_mutations(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Write damaged clips, number `first` and those that follow it; containers and kinds of damage take turns.

    Args:
        folder: their folder, which is created.
        count: the number of clips.
        first: the first clip's number.
    """
    originals = [path.read_bytes() for path in write_originals(folder / ".originals")]
    paths = []
    for number in range(first, first + count):
        which, (kind, damage) = number % len(originals), list(KINDS.items())[number % len(KINDS)]
        path = folder / f"{number:04d} {kind}.{list(CODECS)[which]}"
        data = np.frombuffer(originals[which], np.uint8).copy()
        path.write_bytes(damage(data, np.random.default_rng(number)).tobytes())
        paths.append(path)
    return paths


def _flip(data: Bytes, rng: np.random.Generator, count: int, end: int) -> Bytes:
    data[rng.integers(0, end, count)] ^= rng.integers(1, 256, count).astype(np.uint8)
    return data


def flip_few(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Change five bytes anywhere."""
    return _flip(data, rng, 5, len(data))


def flip_many(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Change 200 bytes anywhere."""
    return _flip(data, rng, 200, len(data))


def flip_header(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Change eight of the first 1,200 bytes."""
    return _flip(data, rng, 8, min(1200, len(data)))


def truncate(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Cut the end off."""
    return data[: int(rng.integers(1, len(data)))]


def cut_out(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Remove a stretch, so that everything behind it moves."""
    begin, size = int(rng.integers(0, len(data))), int(rng.integers(1, len(data) // 4))
    return np.concatenate([data[:begin], data[begin + size :]])


def blank(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Overwrite a stretch with zeros, as a file that was not downloaded completely."""
    begin, size = int(rng.integers(0, len(data))), int(rng.integers(1, len(data) // 3))
    data[begin : begin + size] = 0
    return data


def repeat(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Insert a stretch of the file a second time, somewhere else."""
    begin, size = int(rng.integers(0, len(data))), int(rng.integers(1, len(data) // 3))
    at = int(rng.integers(0, len(data)))
    return np.concatenate([data[:at], data[begin : begin + size], data[at:]])


def inflate(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Overwrite three numbers of 32 bits in the header with the largest: sizes, counts, rates and times."""
    for at in rng.integers(0, min(1500, len(data) - 4), 3):
        data[at : at + 4] = [(255, 255, 255, 255), (127, 255, 255, 255), (0, 255, 255, 255)][int(rng.integers(3))]
    return data


def join(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Append the file to itself, cut at a random byte: its clock goes back."""
    return np.concatenate([data[: int(rng.integers(len(data) // 2, len(data)))], data])


KINDS: dict[str, Callable[[Bytes, np.random.Generator], Bytes]] = {
    "few": flip_few,
    "many": flip_many,
    "header": flip_header,
    "truncated": truncate,
    "cut out": cut_out,
    "blank": blank,
    "repeated": repeat,
    "inflated": inflate,
    "joined": join,
}
"""Kind of damage → its function; nine kinds and seven containers have no common factor, so that all pairs occur."""
