"""Clips > pixels and log-mels, for networks that are trained end to end, as BA-TFD and BA-TFD+ expect them.

Frames are resized to 96 × 96 (bicubic, no antialiasing, in [0, 1]); sound becomes a log-mel at four steps per frame. A clip is
fitted to T frames in one of two ways: `pad` (LAV-DF) cuts it, or appends zeros; `squeeze` (AV-Deepfake1M) resamples all of it.
The result equals the published preprocessing (tests/data/preprocess) with two exceptions: several channels are mixed, as
everywhere in avloc (the published code takes the first), and a stream that starts late is placed at its own time.

Legend: B batch, T frames of the input, F frames of the clip, N samples.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from avloc.datasets.examples.example import cut_record, read_decodable
from avloc.datasets.loading.batch import Batch, ClipInputs, TargetMaker, stack_targets
from avloc.datasets.loading.samplers import SampleIndex
from avloc.datasets.readers.table import as_table
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.extractors.base import gap_rows
from avloc.feature_extraction.extractors.log_mel import SAMPLES_PER_FRAME, log_mel
from avloc.feature_extraction.media.decode import MAX_DECODED_BYTES, decode
from avloc.feature_extraction.media.types import BATFD_FORMAT, BATFD_SIDE, Clip, VideoFormat
from avloc.io.files import replacing, resolve_inside

FITS: tuple[Fit, ...] = ("pad", "squeeze")
CLIP_FORMATS = {
    "pad": BATFD_FORMAT,
    "squeeze": VideoFormat(BATFD_SIDE, BATFD_SIDE, resize="nearest"),
}
"""The decoded format of a clip, by fit."""
STREAM_END_GAP_FRAMES = 5
"""Usual difference between the ends of a clip's two streams, at most."""


@dataclass(frozen=True, slots=True)
class ClipExample:
    """One decoded clip on the clock of its frames.

    Attributes:
        record: metadata of the clip.
        grid: clock of F steps, one per frame, from the start of the earlier stream.
        frames: (F, 96, 96, 3) float32 in about [0, 1] (for `pad`) or uint8 (for `squeeze`); black without picture.
        samples: (F · 640,) float32; silent without sound.
        masks: (F,) bool each: frames that have sound, and frames that have a picture. In a gap both are filled in `frames` and
            `samples`, as a network without masks takes them.
    """

    record: VideoRecord
    grid: TimeGrid
    frames: npt.NDArray[np.generic]
    samples: npt.NDArray[np.float32]
    masks: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

    @property
    def end_s(self) -> float:
        """End of the last frame in seconds."""
        return self.grid.end_s

    def window(self, begin: int, end: int) -> ClipExample:
        """Return the frames from `begin` to `end`; the record stays that of the whole clip."""
        part = TimeGrid(self.grid.start_s + begin * self.grid.hop_s, self.grid.hop_s, end - begin)
        samples = self.samples[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
        audio, video = (mask[begin:end] for mask in self.masks)
        return ClipExample(self.record, part, self.frames[begin:end], samples, (audio, video))


def _empty_frames(count: int, fit: Fit) -> npt.NDArray[np.generic]:
    dtype = np.float32 if CLIP_FORMATS[fit].resize == "bicubic" else np.uint8
    return np.zeros((count, BATFD_SIDE, BATFD_SIDE, 3), dtype)


def clip_example(clip: Clip, record: VideoRecord, fit: Fit) -> ClipExample:
    """Place the streams of a decoded clip at their own start times.

    The example is as long as the picture, as in the published code, unless the sound outlasts it by more than
    `STREAM_END_GAP_FRAMES`.

    Raises:
        MediaError: if the clip has neither picture nor sound, or they lie too far apart to fit into memory.
    """
    clip_format = CLIP_FORMATS[fit]
    images = clip.frames.get(clip_format, _empty_frames(0, fit))
    sound = np.zeros(0, np.float32) if clip.samples is None else clip.samples
    starts = [start for start, part in ((clip.video_start_s, images), (clip.audio_start_s, sound)) if len(part)]
    if not starts:
        raise MediaError(f"{clip.path}: has neither a frame nor a sample")
    origin = min(starts)
    first = round((clip.video_start_s - origin) * DEFAULT_FPS) if len(images) else 0
    at = round((clip.audio_start_s - origin) * DEFAULT_SAMPLE_RATE) if len(sound) else 0
    count, audio_count = first + len(images), -(-(at + len(sound)) // SAMPLES_PER_FRAME)
    if not len(images) or audio_count > count + STREAM_END_GAP_FRAMES:
        count = max(count, audio_count)
    if count * clip_format.frame_bytes > MAX_DECODED_BYTES:
        seconds = count / DEFAULT_FPS
        raise MediaError(f"{clip.path}: {seconds:.0f} s of frames do not fit into memory, cut it into parts")
    frames = _empty_frames(count, fit)
    frames[first : first + len(images)] = images
    samples = np.zeros(count * SAMPLES_PER_FRAME, np.float32)
    kept = sound[: max(0, len(samples) - at)]
    samples[at : at + len(kept)] = kept
    steps = np.arange(count)
    video = (steps >= first) & (steps < first + len(images))
    # Sound that ends a little before the picture, as usual, counts as sound to the end.
    audio = (steps >= at // SAMPLES_PER_FRAME) & (steps < audio_count + STREAM_END_GAP_FRAMES) & (len(sound) > 0)
    grid = TimeGrid(origin, 1 / DEFAULT_FPS, count)
    for mask, modality in ((audio, "audio"), (video, "visual")):
        for first_step, end in gap_rows(clip.gaps[modality], grid):
            mask[first_step:end] = False
    return ClipExample(record, grid, frames, samples, (audio, video))


def place_on_grid(example: ClipExample | None, record: VideoRecord, grid: TimeGrid, fit: Fit) -> ClipExample:
    """Place a part of a clip on a clock that may be longer than the part.

    Args:
        example: the part; None if the clip has nothing there.
        record: metadata of the clip.
        grid: the clock.
        fit: of the network's input.

    Returns:
        The part, padded to the clock with black and silence.
    """
    if example is not None and example.grid.length >= grid.length:
        return example
    frames = _empty_frames(grid.length, fit)
    samples = np.zeros(grid.length * SAMPLES_PER_FRAME, np.float32)
    masks = np.zeros(grid.length, dtype=bool), np.zeros(grid.length, dtype=bool)
    if example is not None:
        first = round(float(grid.to_steps(example.grid.start_s)))
        count = min(example.grid.length, grid.length - first)
        frames[first : first + count] = example.frames[:count]
        part = example.samples[: count * SAMPLES_PER_FRAME]
        samples[first * SAMPLES_PER_FRAME : (first + count) * SAMPLES_PER_FRAME] = part
        for mask, part_mask in zip(masks, example.masks, strict=True):
            mask[first : first + count] = part_mask[:count]
    return ClipExample(record, grid, frames, samples, masks)


def fit_video(frames: Tensor, length: int, fit: Fit) -> Tensor:
    """Fit frames (F, 96, 96, 3), float32 in [0, 1] or uint8, to `length` frames: (3, length, 96, 96) in [0, 1]."""
    video = frames.permute(3, 0, 1, 2)
    if fit == "pad":
        video = video[:, :length]
        return pad(video, (0, 0, 0, 0, 0, length - video.shape[1]))
    return interpolate(video[None].float() / 255, (length, BATFD_SIDE, BATFD_SIDE), mode="nearest")[0]


def fit_audio(samples: Tensor, length: int, fit: Fit) -> Tensor:
    """Fit samples (N,) to `length` frames, as a log-mel: (64, 4 · length)."""
    count = length * SAMPLES_PER_FRAME
    if fit == "pad":
        samples = pad(samples[:count], (0, max(0, count - len(samples))))
    else:
        samples = interpolate(samples[None, None], count, mode="linear", align_corners=False)[0, 0]
    return log_mel(samples)


def fit_grid(grid: TimeGrid, length: int, fit: Fit) -> TimeGrid:
    """Return the clock of the input's real frames: the clip's own, cut at `length`; or `length` steps over the whole clip.

    >>> fit_grid(TimeGrid(0.0, 0.04, 100), 50, "pad"), fit_grid(TimeGrid(0.0, 0.04, 100), 50, "squeeze")
    (TimeGrid(start_s=0.0, hop_s=0.04, length=50), TimeGrid(start_s=0.0, hop_s=0.08, length=50))
    """
    if fit == "pad":
        return TimeGrid(grid.start_s, grid.hop_s, min(grid.length, length))
    return TimeGrid(grid.start_s, grid.hop_s * max(1, grid.length) / length, length)


def collate_clips(examples: Sequence[ClipExample], length: int, fit: Fit, maker: TargetMaker | None = None) -> Batch:
    """Fit examples to `length` frames and stack them.

    Args:
        examples: B clips.
        length: T.
        fit: `pad` or `squeeze`.
        maker: makes the targets; None: no targets. There are none either if any labels are hidden.
    """
    records, grids = [e.record for e in examples], [fit_grid(e.grid, length, fit) for e in examples]
    inputs = ClipInputs(
        torch.stack([fit_video(torch.from_numpy(e.frames), length, fit) for e in examples]),
        torch.stack([fit_audio(torch.from_numpy(e.samples), length, fit) for e in examples]),
        torch.tensor([grid.length for grid in grids]),
    )
    return Batch(inputs, grids, records, *stack_targets(records, grids, length, maker))


class ClipDataset(Dataset[ClipExample]):
    """Clips that are decoded on the fly, in the workers of a loader.

    Args:
        records: the clips.
        root: the dataset's folder.
        fit: `pad` or `squeeze`; it selects the decoded format of frames.
        longest: frames to use from a clip's beginning, at most; None: all.
        cache: folder for decoded clips, outside of the dataset's. They are kept as float16 (exact to 2.5e-4, 13 MB for 9 s).
            None: no cache.
        allow_missing: replace a clip that cannot be decoded by the next one, with a warning; otherwise it is an error.

    Raises:
        AvlocError: if an option has no valid value, or the cache lies in the dataset's folder.

    >>> len(ClipDataset([VideoRecord("a.mp4", "train")], "clips", fit="squeeze"))
    1
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        root: str | Path,
        *,
        fit: Fit = "pad",
        longest: int | None = None,
        cache: str | Path | None = None,
        allow_missing: bool = False,
    ) -> None:
        if fit not in FITS or (longest is not None and longest < 1):
            raise AvlocError(f"want fit of {', '.join(FITS)} and longest ≥ 1, got {fit!r} and {longest}")
        self.records, self.root, self.fit, self.longest = as_table(records), Path(root).expanduser(), fit, longest
        self.cache, self.allow_missing = None if cache is None else Path(cache).expanduser(), allow_missing
        if self.cache is not None and self.cache.resolve().is_relative_to(self.root.resolve()):
            raise AvlocError(
                f"{cache}: lies in the dataset's folder {root}, where nothing is written; name another cache"
            )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: SampleIndex | int) -> ClipExample:
        """Return a clip, cut to `longest` frames together with its segments.

        Raises:
            MediaError: if it cannot be decoded; with `allow_missing`, if no clip can.
        """
        clip = index.clip if isinstance(index, tuple) else index
        return read_decodable(self._read_cut, clip, len(self), allow_missing=self.allow_missing)

    def _read_cut(self, clip: int) -> ClipExample:
        record = self.records[clip]
        example = self._read(resolve_inside(self.root, record.file), record)
        if self.longest is not None:
            example = example.window(0, min(self.longest, example.grid.length))
        return replace(example, record=cut_record(record, example.grid.start_s, example.grid.end_s))

    def _read(self, path: Path, record: VideoRecord) -> ClipExample:
        """Read a clip from the cache, or decode it and put it there. A damaged copy is replaced."""
        copy = None if self.cache is None else self.cache / f"{self._cache_key(path, record.file)}.npz"
        if copy is not None and copy.is_file():
            with contextlib.suppress(zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError):
                return _load_cached(copy, record)
        example = clip_example(decode(path, [CLIP_FORMATS[self.fit]]), record, self.fit)
        if copy is not None:
            _save_cached(copy, example)
        return example

    def _cache_key(self, path: Path, file: str) -> str:
        """Hash the clip's name, size and date, and the fit: a changed clip has another key."""
        stat = path.stat() if path.is_file() else None
        parts = (file, stat and stat.st_size, stat and stat.st_mtime_ns, self.fit)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _save_cached(copy: Path, example: ClipExample) -> None:
    frames = example.frames.astype(np.float16) if example.frames.dtype == np.float32 else example.frames
    masks, start_s = np.stack(example.masks), example.grid.start_s
    with replacing(copy) as temporary, temporary.open("wb") as out:
        np.savez(out, frames=frames, samples=example.samples, masks=masks, start_s=start_s)


def _load_cached(copy: Path, record: VideoRecord) -> ClipExample:
    with copy.open("rb") as file, np.load(file) as arrays:
        frames = arrays["frames"]
        frames = frames.astype(np.float32) if frames.dtype == np.float16 else frames
        grid = TimeGrid(float(arrays["start_s"]), 1 / DEFAULT_FPS, len(frames))
        audio, video = arrays["masks"]
        return ClipExample(record, grid, frames, arrays["samples"], (audio, video))
