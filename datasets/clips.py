"""Clips > pixels and log-mels for networks that are trained end to end, as BA-TFD and BA-TFD+ take them.

Frames are resized to 96 × 96 (bicubic, no antialiasing, in [0, 1]); sound is a log-mel at four steps per frame. Two ways to
a fixed length of T frames: `pad` (LAV-DF) cuts, or adds zeros at the end; `squeeze` (AV-Deepfake1M) resamples the whole
clip. Equal to the published preprocessing (tests/data/preprocess), but that of several channels the mean is taken, as
everywhere here, not the first.

Legend: T frames of the input, F frames of the clip, B clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset

from avloc.datasets.sampling import Draw
from avloc.datasets.table import as_table
from avloc.errors import AvlocError
from avloc.feature_extraction.media import VideoFormat, decode, probe
from avloc.files import inside, replacing
from avloc.records import VideoRecord
from avloc.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE

Fit = Literal["pad", "squeeze"]
FITS: tuple[Fit, ...] = ("pad", "squeeze")
SIDE = 96
N_FFT = 321
HOP = 160
MELS = 64
LOG_FLOOR = 0.01
SAMPLES_PER_FRAME = round(DEFAULT_SAMPLE_RATE / DEFAULT_FPS)
STEPS_PER_FRAME = SAMPLES_PER_FRAME // HOP


class ClipExample(NamedTuple):
    """One clip: `video` (3, T, 96, 96), `audio` (64, 4T), how many of the T frames are real, and what is known of it."""

    video: Tensor
    audio: Tensor
    n_frames: int
    record: VideoRecord


class ClipBatch(NamedTuple):
    """A batch: `video` (B, 3, T, 96, 96), `audio` (B, 64, 4T), `n_frames` (B,), and the records."""

    video: Tensor
    audio: Tensor
    n_frames: Tensor
    records: list[VideoRecord]


@cache
def _filters() -> Tensor:
    import torchaudio

    return torchaudio.functional.melscale_fbanks(
        N_FFT // 2 + 1, 0.0, DEFAULT_SAMPLE_RATE / 2, MELS, DEFAULT_SAMPLE_RATE
    )


def log_mel(samples: Tensor) -> Tensor:
    """Centred mel power spectrogram of windows of 321 samples, hop 160, 64 HTK bands; log(x + 0.01): (N,) → (64, N // 160)."""
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(samples, N_FFT, HOP, N_FFT, window, center=True, return_complex=True).abs().square()
    return (_filters().T @ spectrum + LOG_FLOOR).log()[:, : len(samples) // HOP]


def resized(frames: Tensor) -> Tensor:
    """Frames (F, 3, H, W) uint8 → (F, 3, 96, 96) in about [0, 1]."""
    return interpolate(frames.float() / 255, (SIDE, SIDE), mode="bicubic", align_corners=False)


def fit_video(frames: Tensor, length: int, fit: Fit) -> Tensor:
    """Frames (F, 3, H, W) uint8 → (3, length, 96, 96)."""
    if fit == "pad":
        video = resized(frames[:length])
        return pad(video, (0, 0, 0, 0, 0, 0, 0, length - len(video))).transpose(0, 1)
    video = frames.float().transpose(0, 1)[None] / 255
    return interpolate(video, (length, SIDE, SIDE), mode="nearest")[0]


def fit_audio(samples: Tensor, length: int, fit: Fit) -> Tensor:
    """Samples (N,) → log-mel (64, 4 · length)."""
    wanted = length * SAMPLES_PER_FRAME
    if fit == "pad":
        samples = pad(samples[:wanted], (0, max(0, wanted - len(samples))))
    else:
        samples = interpolate(samples[None, None], wanted, mode="linear", align_corners=False)[0, 0]
    return log_mel(samples)


class ClipDataset(Dataset[ClipExample]):
    """Clips decoded on the fly, in the workers of a loader.

    A clip without picture or sound has zeros, or the log-mel of silence, in its place; one that cannot be decoded is an error.

    Args:
        records: the clips.
        root: the dataset's folder.
        length: T, frames of the input.
        fit: `pad` or `squeeze`.
        cache: a folder (not in the dataset's) for decoded clips, float16 (2.5e-4 exact, 12 MB for 9 s); None: none.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        root: Path,
        *,
        length: int = 512,
        fit: Fit = "pad",
        cache: Path | None = None,
    ) -> None:
        if fit not in FITS or length < 1:
            raise AvlocError(f"want fit of {', '.join(FITS)} and length ≥ 1, got {fit!r} and {length}")
        if cache is not None and cache.resolve().is_relative_to(root.resolve()):
            raise AvlocError(
                f"{cache}: lies in the dataset's folder {root}, where nothing is written; name another cache"
            )
        self.records, self.root, self.length, self.fit, self.cache = as_table(records), root, length, fit, cache

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw | int) -> ClipExample:
        record = self.records[draw.clip if isinstance(draw, tuple) else draw]
        path = inside(self.root, record.file)
        copy = None if self.cache is None else self.cache / f"{self._key(path, record.file)}.npz"
        if copy is not None and copy.is_file():
            with np.load(copy) as there:
                video, audio = (torch.from_numpy(there[name]).float() for name in ("video", "audio"))
                return ClipExample(self._unpacked(video, int(there["n_frames"])), audio, int(there["n_frames"]), record)
        example = self._decoded(path, record)
        if copy is not None:
            video = example.video[:, : example.n_frames] if self.fit == "pad" else example.video
            with replacing(copy) as temporary, temporary.open("wb") as out:
                np.savez(out, video=video.half().numpy(), audio=example.audio.half().numpy(), n_frames=example.n_frames)
        return example

    def _key(self, path: Path, file: str) -> str:
        """Of the clip as it is now, and of what is made of it."""
        stat = path.stat() if path.is_file() else None
        about = (file, stat and stat.st_size, stat and stat.st_mtime_ns, self.length, self.fit)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:32]

    def _unpacked(self, video: Tensor, n_frames: int) -> Tensor:
        return pad(video, (0, 0, 0, 0, 0, self.length - n_frames)) if self.fit == "pad" else video

    def _decoded(self, path: Path, record: VideoRecord) -> ClipExample:
        info = probe(path)
        shape = VideoFormat(info.height or SIDE, info.width or SIDE)
        clip = decode(path, [shape])
        video, frames = torch.zeros(3, self.length, SIDE, SIDE), 0
        if clip.frames:
            pictures = torch.from_numpy(clip.frames[shape]).permute(0, 3, 1, 2)
            video, frames = fit_video(pictures, self.length, self.fit), len(pictures)
        samples = (
            torch.zeros(SAMPLES_PER_FRAME * max(frames, 1)) if clip.samples is None else torch.from_numpy(clip.samples)
        )
        if not frames:
            frames = -(-len(samples) // SAMPLES_PER_FRAME)
        n_frames = min(frames, self.length) if self.fit == "pad" else self.length
        return ClipExample(video, fit_audio(samples, self.length, self.fit), n_frames, record)


def collate_clips(examples: Sequence[ClipExample]) -> ClipBatch:
    """Stack examples of one length."""
    return ClipBatch(
        torch.stack([e.video for e in examples]), torch.stack([e.audio for e in examples]),
        torch.tensor([e.n_frames for e in examples]), [e.record for e in examples],
    )  # fmt: skip
