"""Frames on a clock > faces, five times a second > one track > the face's place in each frame.

A look is one run of the detector. The track follows one face: the one nearest to its last place; after a cut, or after a second
without it, the largest. A face somewhere else is accepted if one of the next two looks detects it too and neither they nor this
look detect the old one, so a single false alarm moves nothing. Places are averaged over ±0.4 s, never across a cut, and
interpolated between looks. Frames wait in a queue of 1 to 1.6 s for the looks behind them, which are taken a few at a time;
memory does not depend on the clip's length. After a clip's last look the place stays the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from avloc.feature_extraction.media.cropping import Face, Picture
from avloc.feature_extraction.media.faces.detector import FaceDetector

LOOKS_PER_S = 5.0
PICTURES_AT_ONCE = 3  # pictures that are searched together, in three quarters of the time
CONFIRMING = 2  # the next looks that may confirm a detection
SMOOTHING = 2  # looks on each side that are averaged: 0.4 s
MEMORY = 5  # an undetected face is assumed to stay for this many looks: 1 s
LOOKAHEAD = SMOOTHING + 1  # looks behind a frame's own look that its place depends on

Detector = Callable[[Sequence[Picture]], Sequence[Sequence[Face]]]
"""A function from pictures to the faces in each."""
T = TypeVar("T")


class Point(NamedTuple):
    """The track at one look.

    Attributes:
        face: in its place, or its last one; None before the first detection.
        segment: a number that changes at a cut.
        is_detected: true if this look detected the face.
    """

    face: Face | None
    segment: int
    is_detected: bool


class Place(NamedTuple):
    """The face's place at a time.

    Attributes:
        face: None before the first detection.
        is_detected: true if a look from 1 s before to 0.4 s after detected it.
    """

    face: Face | None
    is_detected: bool


class FaceTrack:
    """The detections of each look > a smooth track, decided `CONFIRMING` looks later; keeps a few looks only.

    Attributes:
        decided: the number of looks whose points are decided.

    >>> track = FaceTrack()
    >>> for x in (10, 12, 14):
    ...     track.look([Face(x, 20, 8, x, 23)])
    >>> track.finish()
    >>> track.place_at(1.0)
    Place(face=Face(x=12.0, y=20.0, side=8.0, mouth_x=12.0, mouth_y=23.0), is_detected=True)
    """

    def __init__(self) -> None:
        self._detections: dict[int, Sequence[Face]] = {}
        self._points: dict[int, Point] = {}
        self._last: Face | None = None
        self._last_look = 0
        self._segment = 0
        self._looks = 0
        self.decided = 0

    def look(self, faces: Sequence[Face]) -> None:
        """Add the detections of the next look."""
        self._detections[self._looks] = faces
        self._looks += 1
        self._decide(CONFIRMING)

    def finish(self) -> None:
        """Decide the remaining looks; no more will come."""
        self._decide(0)

    def _decide(self, later_looks: int) -> None:
        """Decide the looks that are followed by at least this many others."""
        while self.decided + later_looks in self._detections:
            k = self.decided
            self._choose(k)
            self.decided += 1
            del self._detections[k]
            self._points.pop(k - MEMORY - LOOKAHEAD - SMOOTHING, None)

    def _choose(self, k: int) -> None:
        """Choose the face of look k."""
        following = [self._detections[j] for j in range(k + 1, k + 1 + CONFIRMING) if j in self._detections]
        live = self._last is not None and k - self._last_look <= MEMORY
        current = self._detections[k]
        chosen = None
        if live and self._last is not None:
            chosen = _nearest(self._last, current, k - self._last_look)
        if chosen is None and not (live and self._reappears(following, k)):
            chosen = self._newcomer(current, following, live)
        if chosen is not None:
            self._last, self._last_look = chosen, k
        self._points[k] = Point(self._last, self._segment, chosen is not None)
        for j in range(k - SMOOTHING, k):  # looks shortly before the first detection
            if chosen is not None and j in self._points and self._points[j].face is None:
                self._points[j] = Point(chosen, self._segment, False)

    def _reappears(self, following: Sequence[Sequence[Face]], k: int) -> bool:
        """Tell if one of the looks after look k detects the followed face again."""
        if self._last is None:
            return False
        return any(_nearest(self._last, faces, k + n - self._last_look) for n, faces in enumerate(following, 1))

    def _newcomer(self, current: Sequence[Face], following: Sequence[Sequence[Face]], live: bool) -> Face | None:
        """The largest of the faces that a following look confirms; it begins a new segment."""
        confirmed = [face for face in current if any(_nearest(face, faces, n) for n, faces in enumerate(following, 1))]
        if not following and not live:  # at the end of the clip nothing can confirm it
            confirmed = list(current)
        if not confirmed:
            return None
        self._segment += 1
        return max(confirmed, key=lambda face: face.side)

    def smooth(self, k: int) -> Face | None:
        """The place at a look, averaged over the looks on both sides that belong to the same segment."""
        points = self._points
        reach = 0
        while reach < SMOOTHING and all(self._same(k, j) for j in (k - reach - 1, k + reach + 1)):
            reach += 1
        faces = [face for j in range(k - reach, k + reach + 1) if (face := points[j].face) is not None]
        return Face(*(sum(values) / len(faces) for values in zip(*faces, strict=True))) if faces else None

    def _same(self, k: int, j: int) -> bool:
        other = self._points.get(j)
        return other is not None and other.face is not None and other.segment == self._points[k].segment

    def place_at(self, look: float) -> Place:
        """The place at a look, or between two looks."""
        look = min(look, self.decided - 1)
        before = int(look)
        after = min(before + 1, self.decided - 1)
        share = look - before
        nearest = after if share >= 0.5 else before
        around = range(nearest - MEMORY, nearest + SMOOTHING + 1)
        is_detected = any(j in self._points and self._points[j].is_detected for j in around)
        if not (self._same(before, before) and self._same(before, after)):
            return Place(self.smooth(nearest), is_detected)
        first, second = self.smooth(before), self.smooth(after)
        if first is None or second is None:
            return Place(first or second, is_detected)
        return Place(Face(*(a + share * (b - a) for a, b in zip(first, second, strict=True))), is_detected)


def _nearest(face: Face, others: Sequence[Face], looks: int) -> Face | None:
    """The same face `looks` later, if present: not much larger or smaller, and within half a side per look."""
    reach = face.side * min(1.0, 0.5 * max(1, looks))
    near = [
        (distance, other)
        for other in others
        if (distance := max(abs(other.x - face.x), abs(other.y - face.y))) <= reach
        and 1 / 1.6 <= other.side / face.side <= 1.6
    ]
    return min(near)[1] if near else None


class FollowedFrame(NamedTuple, Generic[T]):
    """A frame with the place of the face in it.

    Attributes:
        frame: the object that was pushed.
        steps: the number of clock steps that show it.
        face: None before the first detection.
        is_detected: see `Place`.
    """

    frame: T
    steps: int
    face: Face | None
    is_detected: bool


class _Waiting(NamedTuple, Generic[T]):
    """A frame that waits for its place: it is shown for some steps, whose middle is at a look."""

    frame: T
    steps: int
    look: float


class FaceFollower(Generic[T]):
    """A queue of frames on a clock; each waits until the face's place in it is decided.

    Args:
        fps: steps per second.
        detector: None: `FaceDetector`.
    """

    def __init__(self, fps: float, detector: Detector | None = None) -> None:
        self.interval = max(1, round(fps / LOOKS_PER_S))
        self._detector = detector or FaceDetector()
        self._track = FaceTrack()
        self._queue: deque[_Waiting[T]] = deque()
        self._pictures: list[tuple[Picture, int]] = []  # that wait for the detector, with their numbers of looks
        self._steps = 0

    def push(self, frame: T, picture: Picture, steps: int) -> Iterator[FollowedFrame[T]]:
        """Add the frame that is shown for the next `steps` steps; yield the frames that need not wait any longer."""
        first, end = self._steps, self._steps + steps
        looks = -(-end // self.interval) - -(-first // self.interval)  # multiples of the interval among the steps
        self._queue.append(_Waiting(frame, steps, (first + (steps - 1) / 2) / self.interval))
        self._steps = end
        if looks:
            self._pictures.append((picture, looks))
        if len(self._pictures) == PICTURES_AT_ONCE:
            yield from self._look()

    def finish(self) -> Iterator[FollowedFrame[T]]:
        """Yield the remaining frames."""
        if self._pictures:
            yield from self._look()
        self._track.finish()
        while self._queue:
            yield self._pop()

    def _look(self) -> Iterator[FollowedFrame[T]]:
        """Detect the faces in the waiting pictures; yield the frames whose places they decide."""
        detected = self._detector([picture for picture, _ in self._pictures])
        looks = [looks for _, looks in self._pictures]
        self._pictures.clear()
        for faces, count in zip(detected, looks, strict=True):
            for _ in range(count):  # the track keeps a few looks only, so frames leave after each
                self._track.look(faces)
                while self._queue and self._track.decided > int(self._queue[0].look) + LOOKAHEAD:
                    yield self._pop()

    def _pop(self) -> FollowedFrame[T]:
        waiting = self._queue.popleft()
        return FollowedFrame(waiting.frame, waiting.steps, *self._track.place_at(waiting.look))
