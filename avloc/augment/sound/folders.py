"""A folder of recordings > random excerpts at 16 kHz. The layouts of MUSAN and RIRS_NOISES are known."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random
from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError, one_line

Waveform = npt.NDArray[np.floating]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
MUSAN = ("music", "noise", "speech")
RESPONSES = ("simulated_rirs", "real_rirs_isotropic_noises")
"""Folders of RIRS_NOISES with room impulse responses; the second one has recordings of noise too."""
NOISE_MARK = "_noise_"
DRAWS = 20  # of excerpts, before a folder counts as silent
LONGEST_RESPONSE_S = 10.0


@lru_cache(maxsize=64)
def noise_files(folder: str, kind: str) -> tuple[Path, ...]:
    """List the recordings of a kind, in the order of their names.

    Args:
        folder: MUSAN's folder, for its sub-folder of the kind; or any other folder, as a whole.
        kind: one of `MUSAN`.

    Raises:
        AvlocError: if it is no folder or has no recordings.
    """
    root = _existing(folder)
    is_musan = any((root / name).is_dir() for name in MUSAN)
    return _recordings(root / kind if is_musan else root)


@lru_cache(maxsize=64)
def response_files(folder: str) -> tuple[Path, ...]:
    """List the room impulse responses of a folder, in the order of their names.

    Args:
        folder: RIRS_NOISES' folder, for its responses; or any other folder, as a whole. `*_noise_*` files are left out.

    Raises:
        AvlocError: if it is no folder or has no recordings.
    """
    root = _existing(folder)
    places = [root / name for name in RESPONSES if (root / name).is_dir()]
    responses = [path for place in places or [root] for path in _recordings(place) if NOISE_MARK not in path.name]
    if not responses:
        raise AvlocError(f"{root}: no impulse responses, only noises ({NOISE_MARK})")
    return tuple(responses)


def _existing(folder: str) -> Path:
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise AvlocError(f"{root}: no such folder of recordings")
    return root


def _recordings(root: Path) -> tuple[Path, ...]:
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES) if root.is_dir() else []
    if not files:
        raise AvlocError(f"{root}: no recordings ({', '.join(SUFFIXES)})")
    return tuple(files)


def draw_excerpt(rng: Random, folder: str, kind: str, length: int) -> Waveform:
    """Draw an excerpt of a random recording that is not silent: (length,). A shorter recording is repeated.

    Args:
        rng: random numbers.
        folder: as in `noise_files`.
        kind: as in `noise_files`.
        length: samples.

    Raises:
        AvlocError: if a recording cannot be read, or if no excerpt has sound.
    """
    files = noise_files(folder, kind)
    for _ in range(DRAWS):
        excerpt = read_excerpt(files[rng.integers(len(files))], rng.random(), length)
        if excerpt.any():
            return excerpt
    raise AvlocError(f"{folder}: {DRAWS} excerpts of {kind} in a row are silent")


def read_excerpt(path: Path, place: float, length: int) -> Waveform:
    """Read an excerpt at 16 kHz, the mean of its channels: (length,).

    Args:
        path: the recording.
        place: begin of the excerpt, as a share of what may lie before it.
        length: samples.

    Raises:
        AvlocError: if the file cannot be read.
    """
    import soundfile  # type: ignore[import-untyped]

    try:
        with soundfile.SoundFile(path) as file:
            count = -(-length * file.samplerate // DEFAULT_SAMPLE_RATE)
            file.seek(int(place * max(0, file.frames - count)))
            values = file.read(count, always_2d=True)
            rate = file.samplerate
    except (OSError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
        raise AvlocError(f"{path}: cannot be read ({one_line(error)})") from error
    if not len(values):
        raise AvlocError(f"{path}: has no samples")
    if not np.isfinite(values).all():
        raise AvlocError(f"{path}: has samples that are not finite")
    return np.resize(to_sample_rate(values.mean(axis=1), rate), length)


def read_response(path: Path) -> Waveform:
    """Read a room impulse response at 16 kHz, its first channel: (M,).

    Raises:
        AvlocError: if the file cannot be read or is silent.
    """
    import soundfile  # type: ignore[import-untyped]

    try:
        with soundfile.SoundFile(path) as file:
            values = file.read(int(LONGEST_RESPONSE_S * file.samplerate), always_2d=True)
            rate = file.samplerate
    except (OSError, RuntimeError) as error:
        raise AvlocError(f"{path}: cannot be read ({one_line(error)})") from error
    if not np.isfinite(values).all():
        raise AvlocError(f"{path}: has samples that are not finite")
    if not values[:, 0].any():
        raise AvlocError(f"{path}: a silent impulse response")
    return to_sample_rate(values[:, 0], rate)


def to_sample_rate(values: Waveform, sample_rate: int, target_rate: int = DEFAULT_SAMPLE_RATE) -> Waveform:
    """Resample without delay: (N,) → (about N · target_rate / sample_rate,)."""
    from scipy.signal import resample_poly

    if sample_rate == target_rate:
        return values
    common = gcd(sample_rate, target_rate)
    return resample_poly(values, target_rate // common, sample_rate // common)
