"""Frames and sound with times of their own > a fixed clock, taken off in parts, so that a long clip need not fit in memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.resize import resize_frame

if TYPE_CHECKING:
    from avloc.feature_extraction.media import Image, VideoFormat

# A pts gap longer than this is filled with silence; shorter ones are rounding and encoder jitter.
AUDIO_GAP_S = 0.05
# A longer jump of the clock is no pause but a damaged time stamp.
LONGEST_GAP_S = 3600.0
# How far past the end that the file's header names a time stamp is still believed.
PAST_END_S = 10.0


class FrameSampler:
    """Frames with times > frames on a fixed clock: each step takes the frame shown at its middle.

    Args:
        formats: the pictures to make of each frame.
        fps: steps per second.
        end_s: the end of the file as its header has it, 0 if it says none; times far behind it are not believed.
    """

    def __init__(self, formats: Sequence[VideoFormat], fps: float, end_s: float = 0.0) -> None:
        self.formats, self.fps, self.end_s = formats, fps, end_s
        self.start_s: float | None = None
        self.steps = 0  # made so far, taken or not
        self._images: dict[VideoFormat, deque[Image]] = {f: deque() for f in formats}
        self._last_s, self._last_duration_s = 0.0, 1 / fps
        self._held: dict[VideoFormat, Image] = {}
        self._reformatter: Any = None

    def push_av(self, frame: Any) -> None:
        """Take a frame of PyAV's."""
        import av

        # One shared reformatter is several times faster than frame.to_ndarray(format=...).
        if self._reformatter is None:
            self._reformatter = av.video.reformatter.VideoReformatter()
        time = None if frame.pts is None else float(frame.pts * frame.time_base)
        turn = round(-(frame.rotation or 0) / 90) % 4
        images = {}
        for f in self.formats:
            height, width = (f.width, f.height) if turn % 2 else (f.height, f.width)
            if f.resize != "swscale":
                height, width = frame.height, frame.width
            out = self._reformatter.reformat(frame, width=width, height=height, format=f.pixel_format)
            image = np.ascontiguousarray(np.rot90(out.to_ndarray(), -turn)) if turn else out.to_ndarray()
            images[f] = image if f.resize == "swscale" else resize_frame(image, f.height, f.width, f.resize)
        duration = getattr(frame, "duration", 0)
        self.push(time, images, float(duration * frame.time_base) if duration else None)

    def push(self, time_s: float | None, images: dict[VideoFormat, Image], duration_s: float | None) -> None:
        """Take a frame: when it is shown (None: after the last), its pictures, and for how long if that is known."""
        if time_s is not None and self.start_s is not None:
            beyond = self.end_s and time_s > max(self.end_s, self._last_s) + PAST_END_S
            if beyond or time_s > self._last_s + LONGEST_GAP_S:
                time_s = None
        if time_s is None:
            time_s = self._last_s + self._last_duration_s
        if self.start_s is None:
            self.start_s = max(0.0, time_s)
        elif time_s > self._last_s and not duration_s:
            self._last_duration_s = time_s - self._last_s
        self._fill(time_s)
        self._held, self._last_s = images, time_s
        self._last_duration_s = min(duration_s, LONGEST_GAP_S) if duration_s else self._last_duration_s

    def _fill(self, until_s: float) -> None:
        if not self._held or self.start_s is None:
            return
        count = math.ceil((until_s - self.start_s) * self.fps - 0.5 - 1e-6) - self.steps
        if count > 0:
            for f, image in self._held.items():
                self._images[f].extend([image] * count)
            self.steps += count

    def finish(self) -> None:
        """Show the last frame to its end."""
        if self.start_s is None:
            return
        self._fill(self._last_s + self._last_duration_s)
        if not self.steps:  # a single frame shorter than half a step is still a frame
            self._fill(self.start_s + 1 / self.fps)

    def take(self, frames: int) -> Iterator[tuple[float, dict[VideoFormat, Image]]]:
        """Take off what is ready, in parts of so many frames: when each starts, and its pictures (T, H, W[, 3])."""
        while self.start_s is not None and (waiting := self._waiting()) >= max(frames, 1):
            start_s = self.start_s + (self.steps - waiting) / self.fps
            yield start_s, {f: np.stack([q.popleft() for _ in range(frames)]) for f, q in self._images.items()}

    def take_rest(self, frames: int) -> Iterator[tuple[float, dict[VideoFormat, Image]]]:
        """The same at the end: the last part may be shorter."""
        yield from self.take(frames)
        if waiting := self._waiting():
            yield from self.take(waiting)

    def _waiting(self) -> int:
        return len(next(iter(self._images.values()))) if self._images else 0


class SampleCollector:
    """Audio frames with times > one mono signal; gaps become silence, overlaps are cut."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.start_s: float | None = None  # never before 0
        self.count = 0  # samples since `start_s`, taken or not
        self._parts: deque[npt.NDArray[np.float32]] = deque()
        self._waiting = 0
        self._origin_s = 0.0  # the first time stamp, maybe before 0
        self._position = 0  # samples since the first time stamp
        self._resampler: Any = None
        self._last_pts: int | None = None
        self._surplus = 0  # samples to cut, because they lie before the end of what is there
        self._gap_allowed = round(AUDIO_GAP_S * sample_rate)

    def push(self, frame: Any) -> None:
        """Take an audio frame of PyAV's."""
        import av

        if self._resampler is None:
            # Channels stay apart and are averaged below: FFmpeg's downmix would weight them by layout.
            self._resampler = av.AudioResampler(format="fltp", rate=self.sample_rate)
        if self.start_s is None:
            self._origin_s = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
            self.start_s = max(0.0, self._origin_s)
        elif frame.pts is not None and frame.pts != self._last_pts:  # times that stand still say nothing
            gap = round((float(frame.pts * frame.time_base) - self._origin_s) * self.sample_rate) - self._position
            # The resampler holds back a few samples, far fewer than the gap that counts.
            if self._gap_allowed < gap <= LONGEST_GAP_S * self.sample_rate:
                silence = np.zeros(min(gap, self.sample_rate), dtype=np.float32)
                for begin in range(0, gap, len(silence)):
                    self._append(silence[: gap - begin])
            self._surplus = -gap if gap < -self._gap_allowed else 0
        self._last_pts = frame.pts
        for out in self._resampler.resample(frame):
            part = out.to_ndarray().mean(axis=0, dtype=np.float32)
            cut = min(self._surplus, len(part))
            self._surplus -= cut
            self._append(part[cut:])

    def _append(self, part: npt.NDArray[np.float32]) -> None:
        # What lies before 0 is an encoder's priming that the container did not cut.
        early = max(0, round(-self._origin_s * self.sample_rate) - self._position)
        self._position += len(part)
        part = part[early:]
        if len(part):
            self._parts.append(np.nan_to_num(np.clip(part, -1, 1)))
            self._waiting += len(part)
            self.count += len(part)

    def finish(self) -> None:
        """Take what the resampler has held back."""
        if self._resampler is not None:
            for out in self._resampler.resample(None):
                self._append(out.to_ndarray().mean(axis=0, dtype=np.float32))

    def take(self, samples: int) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
        """Take off what is ready, in parts of so many samples: when each starts, and its values (N,)."""
        while self.start_s is not None and self._waiting >= max(samples, 1):
            start_s = self.start_s + (self.count - self._waiting) / self.sample_rate
            taken, wanted = [], samples
            while wanted:
                part = self._parts.popleft()
                if len(part) > wanted:
                    self._parts.appendleft(part[wanted:])
                taken.append(part[:wanted])
                wanted -= len(taken[-1])
            self._waiting -= samples
            yield start_s, np.concatenate(taken)

    def take_rest(self, samples: int) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
        """The same at the end: the last part may be shorter."""
        yield from self.take(samples)
        if self._waiting:
            yield from self.take(self._waiting)
