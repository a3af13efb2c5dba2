"""Frames and sound with time stamps > a fixed clock, taken in parts, so that a long clip need not fit in memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from avloc.core.timeline import Segment
from avloc.feature_extraction.media.clock import HELD_S, LONGEST_GAP_S, PAST_END_S, STAMP_S, HeldPictures
from avloc.feature_extraction.media.cropping import AvPicture, Picture, Reformatters, crop_frame, needs_face
from avloc.feature_extraction.media.faces.track import FaceFollower, FollowedFrame
from avloc.feature_extraction.media.sound import MonoResampler, SampleArray
from avloc.feature_extraction.media.types import Clip, ImageArray, VideoFormat

PART_S = 4.0  # seconds of a clip at a time
# A pts gap longer than this is filled with silence; shorter ones are rounding and encoder jitter.
AUDIO_GAP_S = 0.05
# A picture may stand still, so only a longer time without frames counts as a gap, unless frames were lost there, or the file
# states that the last frame is held.
PICTURE_GAP_S = HELD_S
LOST_PICTURE_GAP_S = 0.1


class FramePart(NamedTuple):
    """Frames of T consecutive steps of the clock.

    Attributes:
        start_s: start of the first step.
        images: by format (T, H, W[, 3]).
        faceless: the number of frames without a detected face, for formats that are cut out around one.
    """

    start_s: float
    images: dict[VideoFormat, ImageArray]
    faceless: int


class SamplePart(NamedTuple):
    """Consecutive samples (N,), and the start of the first."""

    start_s: float
    samples: SampleArray


class _PendingFrame(NamedTuple):
    """A frame's finished images, and the frame itself for formats that wait for a face."""

    images: dict[VideoFormat, ImageArray]
    picture: Picture | None


class FrameSampler:
    """Frames with times > frames on a fixed clock: each step takes the frame shown at its middle.

    For formats that are cut out around a face, frames wait 1 to 1.6 s until the face's place is decided.

    Args:
        formats: the image formats to make of each frame.
        fps: steps per second.
        end_s: the end of the file in its header, 0 if unknown; time stamps far behind it are not trusted.
        from_s: start of the clock, unless the first frame is later.
        to_s: end of the clock.
        picture_end_s: the end of the picture in the file's header, 0 if unknown.

    Attributes:
        start_s: start of the first step; None before the first frame.
        steps: steps made, including those taken.
        ended: true once a frame from `to_s` or later has come: later ones do not matter.
        gaps: spans without decoded frames; their steps show the frame before.
        damage: the error of the first packet that could not be decoded; None without one.
        flawed: number of damaged packets that could be decoded, as well as possible.

    >>> gray = VideoFormat(1, 1, "gray")
    >>> sampler = FrameSampler([gray], fps=10)
    >>> for k in range(4):  # 20 frames per second, of which the clock takes every second one
    ...     sampler.push(k / 20, {gray: np.full((1, 1), k, np.uint8)}, 1 / 20)
    >>> sampler.finish()
    >>> [part.images[gray].ravel().tolist() for part in sampler.take_rest(8)]
    [[1, 3]]
    """

    def __init__(
        self,
        formats: Sequence[VideoFormat],
        fps: float,
        end_s: float = 0.0,
        from_s: float = 0.0,
        to_s: float = math.inf,
        picture_end_s: float = 0.0,
    ) -> None:
        self.formats, self.fps, self.end_s, self.picture_end_s = formats, fps, end_s, picture_end_s
        self.from_s, self.to_s, self.ended = from_s, to_s, False
        self.start_s: float | None = None
        self.steps = 0
        self.gaps: list[Segment] = []
        self.damage: str | None = None
        self.flawed = 0
        self.reformatters = Reformatters()
        self._filled = 0  # steps that are made or wait for a face
        self._faceless: deque[bool] = deque()
        self._follower: FaceFollower[_PendingFrame] | None = None
        if any(needs_face(f.crop) for f in formats):
            self._follower = FaceFollower(fps)
        self._images: dict[VideoFormat, deque[ImageArray]] = {f: deque() for f in formats}
        self._last_s, self._last_duration_s = 0.0, 1 / fps
        self._pending: _PendingFrame | None = None
        self._lost_s: list[float] = []  # times of frames that could not be decoded
        self._held = HeldPictures()
        self._states_durations = False
        self._packet_duration_s = 0.0  # the long time that the last frame's own packet states, maybe for another frame

    def lose(self, time_s: float | None) -> None:
        """Note that the frame of a time could not be decoded: without a frame around it there is a gap, even if it is short."""
        self._lost_s.append(self._last_s + self._last_duration_s if time_s is None else time_s)

    def note(self, packet: Any) -> None:
        """Note the display time that a packet of PyAV's states, before its frames come."""
        self._states_durations = self._states_durations or packet.dts is not None
        self._held.note(packet)

    def push_av(self, frame: Any) -> None:
        """Add a frame of PyAV's."""
        time_s = None if frame.pts is None else float(frame.pts * frame.time_base)
        picture = AvPicture(frame, self.reformatters)
        images = {f: picture.image(f) for f in self.formats if not needs_face(f.crop)}
        duration_s = float((getattr(frame, "duration", 0) or 0) * frame.time_base)
        packet_duration_s = 0.0
        if duration_s > HELD_S and self._states_durations:
            # That of another frame, unless the packets say that this one is held.
            packet_duration_s, duration_s = duration_s, 1 / self.fps
        self.push(time_s, images, duration_s or None, picture)
        self._packet_duration_s = packet_duration_s

    def push(
        self,
        time_s: float | None,
        images: dict[VideoFormat, ImageArray],
        duration_s: float | None,
        picture: Picture | None = None,
    ) -> None:
        """Add a frame.

        Args:
            time_s: the time when it appears; None: right after the last frame.
            images: by format, without those that are cut out around a face.
            duration_s: its display time; None if unknown.
            picture: the frame itself, needed by formats that are cut out around a face.
        """
        if self.start_s is not None:
            self._hold_last()
        if time_s is not None and self.start_s is not None:
            beyond = self.end_s and time_s > max(self.end_s, self._last_s) + PAST_END_S
            if beyond or time_s > self._last_s + LONGEST_GAP_S:
                time_s = None
        if time_s is None:
            time_s = 0.0 if self.start_s is None else self._last_s + self._last_duration_s
        if self.start_s is None:
            self.start_s = max(self.from_s, time_s)
        else:
            self._note_gap(time_s)
            if time_s > self._last_s and not duration_s:
                self._last_duration_s = time_s - self._last_s
        self._fill(time_s)
        self.ended = time_s >= self.to_s
        self._pending, self._last_s = _PendingFrame(images, picture), time_s
        self._last_duration_s = min(duration_s, LONGEST_GAP_S) if duration_s else self._last_duration_s
        self._held.drop_before(time_s)

    def _hold_last(self) -> None:
        """Show the last frame for the long time that the file states for it, if it does.

        Where frames are reordered, no packet is decoded at the times of the very last frames. Their own packets' times hold for
        them as far as the picture lasts that long.
        """
        held_s, end_s = self._held.left_s(self._last_s), self._last_s + self._packet_duration_s
        if self._last_s > self._held.stated_until_s - STAMP_S and end_s < self.picture_end_s + STAMP_S:
            held_s = max(held_s, self._packet_duration_s)
        self._last_duration_s = max(self._last_duration_s, min(held_s, LONGEST_GAP_S))

    def _note_gap(self, until_s: float) -> None:
        begin_s = self._last_s + self._last_duration_s
        is_lossy = any(begin_s - 1 / self.fps <= lost_s < until_s for lost_s in self._lost_s)
        self._lost_s = [lost_s for lost_s in self._lost_s if lost_s >= until_s]
        if until_s - begin_s > (LOST_PICTURE_GAP_S if is_lossy else PICTURE_GAP_S):
            _add_gap(self.gaps, max(begin_s, self.from_s), min(until_s, self.to_s))

    def _fill(self, until_s: float) -> None:
        if self._pending is None or self.start_s is None:
            return
        until_s = min(until_s, self.to_s)
        count = math.ceil((until_s - self.start_s) * self.fps - 0.5 - 1e-6) - self._filled
        if count <= 0:
            return
        self._filled += count
        if self._follower is None or self._pending.picture is None:
            self._queue(self._pending.images, count, faceless=False)
            return
        for followed in self._follower.push(self._pending, self._pending.picture, count):
            self._crop_and_queue(followed)

    def _crop_and_queue(self, followed: FollowedFrame[_PendingFrame]) -> None:
        """Queue a frame after its face's place has been decided."""
        images, picture = followed.frame
        if picture is not None:
            formats = (f for f in self.formats if needs_face(f.crop))
            images = images | {f: crop_frame(picture, followed.face, f, self.reformatters) for f in formats}
        self._queue(images, followed.steps, faceless=not followed.is_detected)

    def _queue(self, images: dict[VideoFormat, ImageArray], steps: int, faceless: bool) -> None:
        for f, image in images.items():
            self._images[f].extend([image] * steps)
        self._faceless.extend([faceless] * steps)
        self.steps += steps

    def finish(self) -> None:
        """Show the last frame to its end."""
        if self.start_s is None:
            return
        self._hold_last()
        self._fill(self._last_s + self._last_duration_s)
        shown = self._last_s + self._last_duration_s > self.start_s
        if not self._filled and shown:  # a single frame shorter than half a step is still a frame
            self._fill(self.start_s + 1 / self.fps)
        if self._follower is not None:
            for followed in self._follower.finish():
                self._crop_and_queue(followed)

    def take(self, frames: int) -> Iterator[FramePart]:
        """Yield the finished frames in parts of `frames` each; the rest waits."""
        while self.start_s is not None and (waiting := self._waiting()) >= max(frames, 1):
            start_s = self.start_s + (self.steps - waiting) / self.fps
            images = {f: np.stack([q.popleft() for _ in range(frames)]) for f, q in self._images.items()}
            yield FramePart(start_s, images, sum(self._faceless.popleft() for _ in range(frames)))

    def take_rest(self, frames: int) -> Iterator[FramePart]:
        """Yield all finished frames, in parts of `frames`; the last part may be shorter."""
        yield from self.take(frames)
        if waiting := self._waiting():
            yield from self.take(waiting)

    def _waiting(self) -> int:
        return len(next(iter(self._images.values()))) if self._images else 0


def _add_gap(gaps: list[Segment], start_s: float, end_s: float) -> None:
    if end_s > start_s:
        gaps.append(Segment(start_s, end_s))


class SampleCollector:
    """Audio frames with times > one mono signal; gaps between frames become silence, overlaps are cut.

    Args:
        sample_rate: samples per second of the result.
        from_s: start of the signal; earlier samples are left out.
        to_s: end of the signal; later samples are left out.

    Attributes:
        start_s: start of the first sample, never before `from_s`; None before the first frame.
        count: samples since `start_s`, including those taken.
        ended: true once the signal is complete up to `to_s`.
        gaps: spans without decoded samples, filled with silence.
        damage: the error of the first packet that could not be decoded; None without one.
        flawed: number of damaged packets that could be decoded, as well as possible.
    """

    def __init__(self, sample_rate: int, from_s: float = 0.0, to_s: float = math.inf) -> None:
        self.sample_rate, self.from_s, self.to_s = sample_rate, from_s, to_s
        self.ended = False
        self.start_s: float | None = None
        self.count = 0
        self.gaps: list[Segment] = []
        self.damage: str | None = None
        self.flawed = 0
        self._parts: deque[SampleArray] = deque()
        self._waiting = 0
        self._origin_s = 0.0  # the first time stamp, maybe before 0
        self._position = 0  # samples since the first time stamp
        self._resampler = MonoResampler(sample_rate)
        self._last_pts: int | None = None
        self._surplus = 0  # samples to cut because they overlap with the signal
        self._gap_allowed = round(AUDIO_GAP_S * sample_rate)

    def lose(self, time_s: float | None) -> None:
        """Do nothing: sound that could not be decoded shows in the time of the next frame."""

    def push_av(self, frame: Any) -> None:
        """Add an audio frame of PyAV's."""
        parts = list(self._resampler.push(frame))  # first of all: no time is filled before a frame that is refused
        if self.start_s is None:
            self._origin_s = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
            self.start_s = max(self.from_s, self._origin_s)
        elif frame.pts is not None and frame.pts != self._last_pts:  # repeated time stamps carry no information
            gap = round((float(frame.pts * frame.time_base) - self._origin_s) * self.sample_rate) - self._position
            # The resampler buffers a few samples, far fewer than a gap that counts.
            if self._gap_allowed < gap <= LONGEST_GAP_S * self.sample_rate:
                self._fill(gap)
            self._surplus = -gap if gap < -self._gap_allowed else 0
        self._last_pts = frame.pts
        # Numbers that are none become silence, and the packet counts as damaged.
        self.flawed += not all(np.isfinite(part).all() for part in parts)
        for part in parts:
            cut = min(self._surplus, len(part))
            self._surplus -= cut
            self._append(part[cut:])

    def _fill(self, gap: int) -> None:
        """Append `gap` samples of silence."""
        begin_s = self._origin_s + self._position / self.sample_rate
        end_s = begin_s + gap / self.sample_rate
        _add_gap(self.gaps, max(begin_s, self.from_s), min(end_s, self.to_s))
        silence = np.zeros(min(gap, self.sample_rate), dtype=np.float32)
        for begin in range(0, gap, len(silence)):
            self._append(silence[: gap - begin])

    def _append(self, part: SampleArray) -> None:
        # Samples before 0 are an encoder's priming that the container did not cut.
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
        """Add the samples that the resampler still buffers."""
        for part in self._resampler.finish():
            self._append(part)

    def take(self, samples: int) -> Iterator[SamplePart]:
        """Yield the signal in parts of `samples` each; the rest waits."""
        while self.start_s is not None and self._waiting >= max(samples, 1):
            start_s = self.start_s + (self.count - self._waiting) / self.sample_rate
            pieces, missing = [], samples
            while missing:
                part = self._parts.popleft()
                if len(part) > missing:
                    self._parts.appendleft(part[missing:])
                pieces.append(part[:missing])
                missing -= len(pieces[-1])
            self._waiting -= samples
            yield SamplePart(start_s, np.concatenate(pieces))

    def take_rest(self, samples: int) -> Iterator[SamplePart]:
        """Yield the whole signal, in parts of `samples`; the last part may be shorter."""
        yield from self.take(samples)
        if self._waiting:
            yield from self.take(self._waiting)


def clip_parts(whole: Clip, frames: Iterable[FramePart], samples: Iterable[SamplePart]) -> Iterator[Clip]:
    """Turn parts of frames and of sound into parts of a clip; all share the clip's list of problems."""
    for start_s, images, faceless in frames:
        yield replace(whole, frames=images, video_start_s=start_s, faceless_frames=faceless)
    for start_s, sound in samples:
        yield replace(whole, samples=sound, audio_start_s=start_s)
