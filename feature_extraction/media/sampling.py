"""Frames and sound with times of their own > a fixed clock, taken off in parts, so that a long clip need not fit in memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.media.cropping import AvPicture, Picture, Reformatters, cut, needs_face
from avloc.feature_extraction.media.faces import FaceFollower, Followed
from avloc.feature_extraction.media.types import Clip, Image, VideoFormat

if TYPE_CHECKING:
    from avloc.feature_extraction.media.types import Image, VideoFormat

# A pts gap longer than this is filled with silence; shorter ones are rounding and encoder jitter.
PART_S = 4.0  # seconds of a clip at a time
AUDIO_GAP_S = 0.05
# A longer jump of the clock is no pause but a damaged time stamp.
LONGEST_GAP_S = 3600.0
# How far past the end that the file's header names a time stamp is still believed.
PAST_END_S = 10.0


class FramePart(NamedTuple):
    """Some steps of the clock: when they start, their pictures (T, H, W[, 3]), and in how many no face was to be seen."""

    start_s: float
    images: dict[VideoFormat, Image]
    faceless: int


class _Held(NamedTuple):
    """The pictures of a frame that are made already, and the frame, for those that need a face."""

    images: dict[VideoFormat, Image]
    picture: Picture | None


class FrameSampler:
    """Frames with times > frames on a fixed clock: each step takes the frame shown at its middle.

    Where a picture is cut out around a face, frames wait about a second until it is known where the face is.

    Args:
        formats: the pictures to make of each frame.
        fps: steps per second.
        end_s: the end of the file as its header has it, 0 if it says none; times far behind it are not believed.
        from_s: where the clock starts, if the first frame is not later.
        to_s: where it ends.

    Attributes:
        ended: whether a frame from `to_s` or later was seen: no other one matters.
    """

    def __init__(
        self,
        formats: Sequence[VideoFormat],
        fps: float,
        end_s: float = 0.0,
        from_s: float = 0.0,
        to_s: float = math.inf,
    ) -> None:
        self.formats, self.fps, self.end_s = formats, fps, end_s
        self.from_s, self.to_s, self.ended = from_s, to_s, False
        self.start_s: float | None = None
        self.steps = 0  # made so far, taken or not
        self.reformatters = Reformatters()
        self._filled = 0  # steps that are made, or wait for a face
        self._faceless: deque[bool] = deque()
        self._follower: FaceFollower[_Held] | None = None
        if any(needs_face(f.crop) for f in formats):
            self._follower = FaceFollower(fps)
        self._images: dict[VideoFormat, deque[Image]] = {f: deque() for f in formats}
        self._last_s, self._last_duration_s = 0.0, 1 / fps
        self._held: _Held | None = None

    def push_av(self, frame: Any) -> None:
        """Take a frame of PyAV's."""
        time_s = None if frame.pts is None else float(frame.pts * frame.time_base)
        picture = AvPicture(frame, self.reformatters)
        images = {f: picture.image(f) for f in self.formats if not needs_face(f.crop)}
        duration = getattr(frame, "duration", 0)
        self.push(time_s, images, float(duration * frame.time_base) if duration else None, picture)

    def push(
        self,
        time_s: float | None,
        images: dict[VideoFormat, Image],
        duration_s: float | None,
        picture: Picture | None = None,
    ) -> None:
        """Take a frame.

        Args:
            time_s: when it is shown; None: after the last.
            images: its pictures, but for those that are cut out around a face.
            duration_s: for how long, if that is known.
            picture: the frame itself; needed where a face is.
        """
        if time_s is not None and self.start_s is not None:
            beyond = self.end_s and time_s > max(self.end_s, self._last_s) + PAST_END_S
            if beyond or time_s > self._last_s + LONGEST_GAP_S:
                time_s = None
        if time_s is None:
            time_s = self._last_s + self._last_duration_s
        if self.start_s is None:
            self.start_s = max(self.from_s, time_s)
        elif time_s > self._last_s and not duration_s:
            self._last_duration_s = time_s - self._last_s
        self._fill(time_s)
        self.ended = time_s >= self.to_s
        self._held, self._last_s = _Held(images, picture), time_s
        self._last_duration_s = min(duration_s, LONGEST_GAP_S) if duration_s else self._last_duration_s

    def _fill(self, until_s: float) -> None:
        if self._held is None or self.start_s is None:
            return
        until_s = min(until_s, self.to_s)
        count = math.ceil((until_s - self.start_s) * self.fps - 0.5 - 1e-6) - self._filled
        if count <= 0:
            return
        self._filled += count
        if self._follower is None or self._held.picture is None:
            self._queue(self._held.images, count, faceless=False)
            return
        for followed in self._follower.push(self._held, self._held.picture, count):
            self._cut(followed)

    def _cut(self, followed: Followed[_Held]) -> None:
        """Queue a frame whose face is known now."""
        images, picture = followed.held
        if picture is not None:
            wanted = (f for f in self.formats if needs_face(f.crop))
            images = images | {f: cut(picture, followed.face, f, self.reformatters) for f in wanted}
        self._queue(images, followed.steps, faceless=not followed.seen)

    def _queue(self, images: dict[VideoFormat, Image], steps: int, faceless: bool) -> None:
        for f, image in images.items():
            self._images[f].extend([image] * steps)
        self._faceless.extend([faceless] * steps)
        self.steps += steps

    def finish(self) -> None:
        """Show the last frame to its end."""
        if self.start_s is None:
            return
        self._fill(self._last_s + self._last_duration_s)
        shown = self._last_s + self._last_duration_s > self.start_s
        if not self._filled and shown:  # a single frame shorter than half a step is still a frame
            self._fill(self.start_s + 1 / self.fps)
        if self._follower is not None:
            for followed in self._follower.finish():
                self._cut(followed)

    def take(self, frames: int) -> Iterator[FramePart]:
        """Take off what is ready, in parts of so many frames."""
        while self.start_s is not None and (waiting := self._waiting()) >= max(frames, 1):
            start_s = self.start_s + (self.steps - waiting) / self.fps
            images = {f: np.stack([q.popleft() for _ in range(frames)]) for f, q in self._images.items()}
            yield FramePart(start_s, images, sum(self._faceless.popleft() for _ in range(frames)))

    def take_rest(self, frames: int) -> Iterator[FramePart]:
        """The same at the end: the last part may be shorter."""
        yield from self.take(frames)
        if waiting := self._waiting():
            yield from self.take(waiting)

    def _waiting(self) -> int:
        return len(next(iter(self._images.values()))) if self._images else 0


class SampleCollector:
    """Audio frames with times > one mono signal; gaps become silence, overlaps are cut.

    Args:
        sample_rate: per second.
        from_s: what lies before is left out.
        to_s: what lies behind is left out.

    Attributes:
        ended: whether all up to `to_s` is there.
    """

    def __init__(self, sample_rate: int, from_s: float = 0.0, to_s: float = math.inf) -> None:
        self.sample_rate, self.from_s, self.to_s = sample_rate, from_s, to_s
        self.ended = False
        self.start_s: float | None = None  # never before `from_s`
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
            self.start_s = max(self.from_s, self._origin_s)
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
        early = max(0, round((self.from_s - self._origin_s) * self.sample_rate) - self._position)
        self._position += len(part)
        part = part[early:]
        if self.start_s is not None and self.to_s < math.inf:
            left = max(0, round((self.to_s - self.start_s) * self.sample_rate) - self.count)
            self.ended = len(part) >= left
            part = part[:left]
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


def clip_parts(
    whole: Clip,
    frames: Iterable[FramePart],
    samples: Iterable[tuple[float, npt.NDArray[np.float32]]],
) -> Iterator[Clip]:
    for start_s, images, faceless in frames:
        yield replace(whole, frames=images, video_start_s=start_s, faceless_frames=faceless)
    for start_s, sound in samples:
        yield replace(whole, samples=sound, audio_start_s=start_s)
