"""Clips > pixels and log-mels for networks that are trained end to end, as BA-TFD and BA-TFD+ take them.

Frames are resized to 96 × 96 (bicubic, no antialiasing, in [0, 1]); sound is a log-mel at four steps per frame. Two ways to
a fixed length of T frames: `pad` (LAV-DF) cuts, or adds zeros at the end; `squeeze` (AV-Deepfake1M) resamples the whole
clip. Equal to the published preprocessing (tests/data/preprocess), but that of several channels the mean is taken, as
everywhere here, not the first, and that a stream that starts late is put where it belongs.

Legend: T frames of the input, F frames of the clip, N samples.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset

from avloc.core.descriptions import Fit
from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, TimeGrid
from avloc.datasets.loading.batch import Batch, ClipInputs, TargetMaker, stacked_targets
from avloc.datasets.loading.example import cut_record
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.readers.table import as_table
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.extractors.log_mel import SAMPLES_PER_FRAME, log_mel
from avloc.feature_extraction.media.decode import MAX_DECODED_BYTES, decode
from avloc.feature_extraction.media.types import BATFD_FORMAT, BATFD_SIDE, Clip, VideoFormat
from avloc.io.files import replacing, resolve_inside

FITS: tuple[Fit, ...] = ("pad", "squeeze")
USUAL_GAP_FRAMES = 5  # streams of one clip end within so many frames of each other
FORMATS = {
    "pad": BATFD_FORMAT,
    "squeeze": VideoFormat(BATFD_SIDE, BATFD_SIDE, resize="nearest"),
}


@dataclass(frozen=True, slots=True)
class ClipExample:
    """One decoded clip on the clock of its frames.

    Attributes:
        record: what is known of it.
        grid: F steps of a frame, from where the earlier stream starts.
        frames: (F, 96, 96, 3) float32 in about [0, 1] (for `pad`) or uint8 (for `squeeze`); black where there is no picture.
        samples: (F · 640,) float32; silent where there is no sound.
        masks: which frames have sound, and which a picture: (F,) each.
    """

    record: VideoRecord
    grid: TimeGrid
    frames: npt.NDArray[np.generic]
    samples: npt.NDArray[np.float32]
    masks: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

    @property
    def end_s(self) -> float:
        """Where the last frame ends."""
        return self.grid.end_s

    def window(self, begin: int, end: int) -> ClipExample:
        """The frames from `begin` to `end`; its record is still that of the whole clip."""
        part = TimeGrid(self.grid.start_s + begin * self.grid.hop_s, self.grid.hop_s, end - begin)
        samples = self.samples[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
        audio, video = (mask[begin:end] for mask in self.masks)
        return ClipExample(self.record, part, self.frames[begin:end], samples, (audio, video))


def clip_example(clip: Clip, record: VideoRecord, fit: Fit) -> ClipExample:
    """A decoded clip, each stream put where it starts.

    It is as long as its picture, as published, unless the sound goes on for longer than streams usually differ.

    Raises:
        MediaError: if there is neither picture nor sound, or they lie too far apart to be held.
    """
    shape = FORMATS[fit]
    dtype = np.float32 if shape.resize == "bicubic" else np.uint8
    pictures = clip.frames.get(shape, np.zeros((0, BATFD_SIDE, BATFD_SIDE, 3), dtype))
    sound = np.zeros(0, np.float32) if clip.samples is None else clip.samples
    starts = [start for start, part in ((clip.video_start_s, pictures), (clip.audio_start_s, sound)) if len(part)]
    if not starts:
        raise MediaError(f"{clip.path}: has neither a frame nor a sample")
    origin = min(starts)
    first = round((clip.video_start_s - origin) * DEFAULT_FPS) if len(pictures) else 0
    at = round((clip.audio_start_s - origin) * DEFAULT_SAMPLE_RATE) if len(sound) else 0
    count, audio_count = first + len(pictures), -(-(at + len(sound)) // SAMPLES_PER_FRAME)
    if not len(pictures) or audio_count > count + USUAL_GAP_FRAMES:
        count = max(count, audio_count)
    if count * shape.frame_bytes > MAX_DECODED_BYTES:
        raise MediaError(
            f"{clip.path}: {count / DEFAULT_FPS:.0f} s of frames do not fit into memory, cut it into parts"
        )
    frames = np.zeros((count, BATFD_SIDE, BATFD_SIDE, 3), dtype)
    frames[first : first + len(pictures)] = pictures
    samples = np.zeros(count * SAMPLES_PER_FRAME, np.float32)
    kept = sound[: max(0, len(samples) - at)]
    samples[at : at + len(kept)] = kept
    steps = np.arange(count)
    video = (steps >= first) & (steps < first + len(pictures))
    # Sound that ends a little before the picture is sound to the end, as streams usually are.
    audio = (steps >= at // SAMPLES_PER_FRAME) & (steps < audio_count + USUAL_GAP_FRAMES) & (len(sound) > 0)
    return ClipExample(record, TimeGrid(origin, 1 / DEFAULT_FPS, count), frames, samples, (audio, video))


def placed(example: ClipExample | None, record: VideoRecord, grid: TimeGrid, fit: Fit) -> ClipExample:
    """A part of a clip on a clock that may be longer than what there is of it; None: there is nothing."""
    if example is not None and example.grid.length >= grid.length:
        return example
    dtype = np.float32 if FORMATS[fit].resize == "bicubic" else np.uint8
    frames = np.zeros((grid.length, BATFD_SIDE, BATFD_SIDE, 3), dtype)
    samples = np.zeros(grid.length * SAMPLES_PER_FRAME, np.float32)
    masks = np.zeros(grid.length, dtype=bool), np.zeros(grid.length, dtype=bool)
    if example is not None:
        first = round(float(grid.to_steps(example.grid.start_s)))
        count = min(example.grid.length, grid.length - first)
        frames[first : first + count] = example.frames[:count]
        samples[first * SAMPLES_PER_FRAME : (first + count) * SAMPLES_PER_FRAME] = example.samples[
            : count * SAMPLES_PER_FRAME
        ]
        for mask, own in zip(masks, example.masks, strict=True):
            mask[first : first + count] = own[:count]
    return ClipExample(record, grid, frames, samples, masks)


def fit_video(frames: Tensor, length: int, fit: Fit) -> Tensor:
    """Frames (F, 96, 96, 3), float32 in [0, 1] or uint8 → (3, length, 96, 96) in [0, 1]."""
    video = frames.permute(3, 0, 1, 2)
    if fit == "pad":
        video = video[:, :length]
        return pad(video, (0, 0, 0, 0, 0, length - video.shape[1]))
    return interpolate(video[None].float() / 255, (length, BATFD_SIDE, BATFD_SIDE), mode="nearest")[0]


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


class ClipDataset(Dataset[ClipExample]):
    """Clips decoded on the fly, in the workers of a loader.

    Args:
        records: the clips.
        root: the dataset's folder.
        fit: `pad` or `squeeze`: which frames the networks want.
        longest: only so many frames from a clip's beginning; None: all.
        cache: a folder (not in the dataset's) for decoded clips, float16 (2.5e-4 exact, 13 MB for 9 s); None: none.
        allow_missing: the next clip stands for one that cannot be decoded, with a warning; otherwise that is an error.
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

    def __getitem__(self, draw: SampleIndex | int) -> ClipExample:
        """A clip, cut to the longest, with its segments cut likewise.

        Raises:
            MediaError: if it cannot be decoded; with `allow_missing`, if none can.
        """
        clip = draw.clip if isinstance(draw, tuple) else draw
        try:
            return self._cut(clip)
        except MediaError as error:
            if not self.allow_missing:
                raise
            warnings.warn(f"left out: {error}", stacklevel=2)
        for further in range(1, len(self)):
            try:
                return self._cut((clip + further) % len(self))
            except MediaError:
                continue
        raise MediaError(f"{self.root}: none of the {len(self)} clips can be decoded")

    def _cut(self, clip: int) -> ClipExample:
        record = self.records[clip]
        example = self._example(resolve_inside(self.root, record.file), record)
        if self.longest is not None:
            example = example.window(0, min(self.longest, example.grid.length))
        return replace(example, record=cut_record(record, example.grid.start_s, example.grid.end_s))

    def _example(self, path: Path, record: VideoRecord) -> ClipExample:
        copy = None if self.cache is None else self.cache / f"{self._key(path, record.file)}.npz"
        if copy is not None and copy.is_file():
            # A damaged copy is made anew.
            with contextlib.suppress(zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError):
                return _unpacked(copy, record)
        example = clip_example(decode(path, [FORMATS[self.fit]]), record, self.fit)
        if copy is not None:
            frames = example.frames.astype(np.float16) if example.frames.dtype == np.float32 else example.frames
            with replacing(copy) as temporary, temporary.open("wb") as out:
                np.savez(
                    out,
                    frames=frames,
                    samples=example.samples,
                    masks=np.stack(example.masks),
                    start_s=example.grid.start_s,
                )
        return example

    def _key(self, path: Path, file: str) -> str:
        """Of the clip as it is now, and of what is made of it."""
        stat = path.stat() if path.is_file() else None
        about = (file, stat and stat.st_size, stat and stat.st_mtime_ns, self.fit)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:32]


def _unpacked(copy: Path, record: VideoRecord) -> ClipExample:
    """A clip from the cache."""
    with copy.open("rb") as file, np.load(file) as there:
        frames = there["frames"]
        frames = frames.astype(np.float32) if frames.dtype == np.float16 else frames
        grid = TimeGrid(float(there["start_s"]), 1 / DEFAULT_FPS, len(frames))
        audio, video = there["masks"]
        return ClipExample(record, grid, frames, there["samples"], (audio, video))
