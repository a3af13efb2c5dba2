"""Clips > pixels and log-mels for networks that are trained end to end, as BA-TFD and BA-TFD+ take them.

Frames are resized to 96 × 96 (bicubic, no antialiasing, in [0, 1]); sound is a log-mel at four steps per frame. Two ways to
a fixed length of T frames: `pad` (LAV-DF) cuts, or adds zeros at the end; `squeeze` (AV-Deepfake1M) resamples the whole
clip. Equal to the published preprocessing (tests/data/preprocess), but that of several channels the mean is taken, as
everywhere here, not the first, and that a stream that starts late is put where it belongs.

Legend: T frames of the input, F frames of the clip, N samples.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset

from avloc.datasets.batch import Batch, ClipInputs, TargetMaker, stacked_targets
from avloc.datasets.sampling import Draw
from avloc.datasets.table import as_table
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.log_mel import SAMPLES_PER_FRAME, log_mel
from avloc.feature_extraction.media import Clip, VideoFormat, decode
from avloc.files import inside, replacing
from avloc.records import VideoRecord
from avloc.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, TimeGrid

Fit = Literal["pad", "squeeze"]
FITS: tuple[Fit, ...] = ("pad", "squeeze")
SIDE = 96
FORMATS = {
    "pad": VideoFormat(SIDE, SIDE, resize="bicubic"),
    "squeeze": VideoFormat(SIDE, SIDE, resize="nearest"),
}


@dataclass(frozen=True, slots=True)
class ClipExample:
    """One decoded clip on the clock of its frames.

    Attributes:
        record: what is known of it.
        grid: F steps of a frame.
        frames: (F, 96, 96, 3) float32 in about [0, 1] (for `pad`) or uint8 (for `squeeze`); black without a picture.
        samples: (F · 640,) float32; silent without sound, and where it ends before the picture does.
        has_audio: whether there is sound.
        has_video: whether there is a picture.
    """

    record: VideoRecord
    grid: TimeGrid
    frames: npt.NDArray[np.generic]
    samples: npt.NDArray[np.float32]
    has_audio: bool = True
    has_video: bool = True

    @property
    def masks(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which frames have sound, and which a picture: (F,) each."""
        return np.full(self.grid.length, self.has_audio), np.full(self.grid.length, self.has_video)

    @property
    def end_s(self) -> float:
        """Where the last frame ends."""
        return self.grid.end_s

    def window(self, begin: int, end: int) -> ClipExample:
        """The frames from `begin` to `end`; its record is still that of the whole clip."""
        part = TimeGrid(self.grid.start_s + begin * self.grid.hop_s, self.grid.hop_s, end - begin)
        samples = self.samples[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
        return ClipExample(self.record, part, self.frames[begin:end], samples, self.has_audio, self.has_video)


def clip_example(clip: Clip, record: VideoRecord, fit: Fit) -> ClipExample:
    """A decoded clip, its streams put where they start: as long as its picture, or its sound where there is none."""
    shape = FORMATS[fit]
    dtype = np.float32 if shape.resize == "bicubic" else np.uint8
    frames = clip.frames.get(shape, np.zeros((0, SIDE, SIDE, 3), dtype))
    samples = np.zeros(0, np.float32) if clip.samples is None else clip.samples
    has_video, has_audio = len(frames) > 0, len(samples) > 0
    late = round(clip.video_start_s * DEFAULT_FPS), round(clip.audio_start_s * DEFAULT_SAMPLE_RATE)
    if has_video and late[0]:
        frames = np.concatenate([np.zeros((late[0], *frames.shape[1:]), dtype), frames])
    if has_audio and late[1]:
        samples = np.concatenate([np.zeros(late[1], np.float32), samples])
    count = len(frames) if has_video else -(-len(samples) // SAMPLES_PER_FRAME)
    if not has_video:
        frames = np.zeros((count, SIDE, SIDE, 3), dtype)
    samples = np.pad(samples[: count * SAMPLES_PER_FRAME], (0, max(0, count * SAMPLES_PER_FRAME - len(samples))))
    return ClipExample(record, TimeGrid(0.0, 1 / DEFAULT_FPS, count), frames, samples, has_audio, has_video)


def fit_video(frames: Tensor, length: int, fit: Fit) -> Tensor:
    """Frames (F, 96, 96, 3), float32 in [0, 1] or uint8 → (3, length, 96, 96) in [0, 1]."""
    video = frames.permute(3, 0, 1, 2)
    if fit == "pad":
        video = video[:, :length]
        return pad(video, (0, 0, 0, 0, 0, length - video.shape[1]))
    return interpolate(video[None].float() / 255, (length, SIDE, SIDE), mode="nearest")[0]


def fit_audio(samples: Tensor, length: int, fit: Fit) -> Tensor:
    """Samples (N,) → log-mel (64, 4 · length)."""
    wanted = length * SAMPLES_PER_FRAME
    if fit == "pad":
        samples = pad(samples[:wanted], (0, max(0, wanted - len(samples))))
    else:
        samples = interpolate(samples[None, None], wanted, mode="linear", align_corners=False)[0, 0]
    return log_mel(samples)


def fit_grid(grid: TimeGrid, length: int, fit: Fit) -> TimeGrid:
    """The clock of the input's real frames: the clip's own, cut at T; or T steps over the whole clip."""
    if fit == "pad":
        return TimeGrid(grid.start_s, grid.hop_s, min(grid.length, length))
    return TimeGrid(grid.start_s, grid.hop_s * max(1, grid.length) / length, length)


def collate_clips(
    examples: Sequence[ClipExample], length: int, fit: Fit, maker: TargetMaker | None = None
) -> Batch:  # fmt: skip
    """Fit examples to T = `length` frames and stack them. With a maker the targets are made, unless any are hidden."""
    records, grids = [e.record for e in examples], [fit_grid(e.grid, length, fit) for e in examples]
    inputs = ClipInputs(
        torch.stack([fit_video(torch.from_numpy(e.frames), length, fit) for e in examples]),
        torch.stack([fit_audio(torch.from_numpy(e.samples), length, fit) for e in examples]),
        torch.tensor([grid.length for grid in grids]),
    )
    return Batch(inputs, grids, records, *stacked_targets(records, grids, length, maker))


class ClipDataset(Dataset[ClipExample | None]):
    """Clips decoded on the fly, in the workers of a loader.

    Args:
        records: the clips.
        root: the dataset's folder.
        fit: `pad` or `squeeze`: which frames the networks want.
        longest: only so many frames from a clip's beginning; None: all.
        cache: a folder (not in the dataset's) for decoded clips, float16 (2.5e-4 exact, 13 MB for 9 s); None: none.
        allow_missing: a clip that cannot be decoded is None, with a warning, and not an error.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        root: Path,
        *,
        fit: Fit = "pad",
        longest: int | None = None,
        cache: Path | None = None,
        allow_missing: bool = False,
    ) -> None:
        if fit not in FITS or (longest is not None and longest < 1):
            raise AvlocError(f"want fit of {', '.join(FITS)} and longest ≥ 1, got {fit!r} and {longest}")
        if cache is not None and cache.resolve().is_relative_to(root.resolve()):
            raise AvlocError(
                f"{cache}: lies in the dataset's folder {root}, where nothing is written; name another cache"
            )
        self.records, self.root, self.fit, self.longest = as_table(records), root, fit, longest
        self.cache, self.allow_missing = cache, allow_missing

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw | int) -> ClipExample | None:
        record = self.records[draw.clip if isinstance(draw, tuple) else draw]
        path = inside(self.root, record.file)
        try:
            example = self._example(path, record)
        except MediaError as error:
            if not self.allow_missing:
                raise
            warnings.warn(f"left out: {error}", stacklevel=2)
            return None
        return example if self.longest is None else example.window(0, min(self.longest, example.grid.length))

    def _example(self, path: Path, record: VideoRecord) -> ClipExample:
        if self.cache is None:
            return clip_example(decode(path, [FORMATS[self.fit]]), record, self.fit)
        copy = self.cache / f"{self._key(path, record.file)}.npz"
        if copy.is_file():
            with np.load(copy) as there:
                frames, (has_audio, has_video) = there["frames"], there["streams"].tolist()
                frames = frames.astype(np.float32) if frames.dtype == np.float16 else frames
                grid = TimeGrid(0.0, 1 / DEFAULT_FPS, len(frames))
                return ClipExample(record, grid, frames, there["samples"], has_audio, has_video)
        example = clip_example(decode(path, [FORMATS[self.fit]]), record, self.fit)
        frames = example.frames.astype(np.float16) if example.frames.dtype == np.float32 else example.frames
        with replacing(copy) as temporary, temporary.open("wb") as out:
            np.savez(out, frames=frames, samples=example.samples, streams=[example.has_audio, example.has_video])
        return example

    def _key(self, path: Path, file: str) -> str:
        """Of the clip as it is now, and of what is made of it."""
        stat = path.stat() if path.is_file() else None
        about = (file, stat and stat.st_size, stat and stat.st_mtime_ns, self.fit)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:32]
