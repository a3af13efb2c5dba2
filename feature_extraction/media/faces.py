"""Frames on a clock > faces, five times a second > one track > where the face is in each frame.

The track follows one face: the one nearest to where it was; after a cut, or when it has been gone for a second, the largest.
A face somewhere else counts if one of the next two looks sees it too and neither they nor this one see the old one, so a
single false alarm moves nothing. Places are averaged over ±0.4 s, never across a cut, and interpolated between looks. Frames
wait in a line of about a second for what comes behind them; nothing depends on how long the clip is. Behind a clip's last look
the place stands still.

The detector is OpenCV's cascade of Haar features: Viola and Jones, "Rapid object detection using a boosted cascade of simple
features", CVPR 2001; its weights come with the package.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from avloc.errors import AvlocError
from avloc.feature_extraction.media.cropping import Picture, Pixels, Square

LOOKS_PER_S = 5.0
LONGEST_SIDE = 320  # of the grey picture that is searched
_LOCK = threading.Lock()
SMALLEST_FACE = 24  # pixels of it
CONFIRMING = 2  # looks behind one that may confirm what it saw
SMOOTHING = 2  # looks on each side that are averaged: 0.4 s
MEMORY = 5  # looks: where a face was seen within this, it is still thought to be there: 1 s
AHEAD = SMOOTHING + 1  # looks behind a frame's own that its place depends on

T = TypeVar("T")


class FaceDetector:
    """Finds upright frontal faces in a picture.

    Raises:
        AvlocError: if OpenCV is not there.
    """

    def __init__(self) -> None:
        self._cascade = _cascade()

    def __call__(self, picture: Picture) -> list[Square]:
        """The faces in a picture, from brow to chin each, in its own pixels; their order says nothing."""
        shrink = min(1.0, LONGEST_SIDE / max(picture.height, picture.width))
        height, width = (max(1, round(side * shrink)) for side in (picture.height, picture.width))
        x, y = picture.width / width, picture.height / height
        boxes = self._boxes(picture.small(height, width))
        return [Square((left + w / 2) * x, (top + h / 2) * y, w * x) for left, top, w, h in boxes]

    def _boxes(self, gray: Pixels) -> Sequence[tuple[int, int, int, int]]:
        import cv2

        if min(gray.shape) < SMALLEST_FACE:
            return []
        smallest = (SMALLEST_FACE, SMALLEST_FACE)
        for image in (
            gray,
            cv2.equalizeHist(gray),
        ):  # the second finds faces in bad light, and loses some in good light
            with _LOCK:  # OpenCV's cascades hold buffers of their own
                found = self._cascade.detectMultiScale(image, scaleFactor=1.1, minNeighbors=3, minSize=smallest)
            if len(found):
                return sorted((int(left), int(top), int(w), int(h)) for left, top, w, h in found)
        return []


@cache
def _cascade() -> Any:
    """OpenCV's classifier; reading it takes longer than a look."""
    try:
        import cv2

        cv2.setNumThreads(1)  # jobs run one process per core
        folder = Path(cv2.data.haarcascades)  # type: ignore[attr-defined] # not in OpenCV's stubs
        return cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_alt.xml"))
    except (ImportError, AttributeError) as error:  # OpenCV 5 has no cascades
        raise AvlocError(f"crop=face and crop=mouth need OpenCV 4 ({error}): pip install 'avloc[face]'") from error


class Point(NamedTuple):
    """The track at one look.

    Attributes:
        box: where the face is, or was last; None before the first.
        segment: a number that is another one after a cut.
        found: whether it was seen in this very look.
    """

    box: Square | None
    segment: int
    found: bool


class FaceTrack:
    """What was seen at each look > a smooth track, decided `CONFIRMING` looks later. Keeps a few looks, however many come."""

    def __init__(self) -> None:
        self._seen: dict[int, Sequence[Square]] = {}
        self._points: dict[int, Point] = {}
        self._last: Square | None = None
        self._last_look = 0
        self._segment = 0
        self._looks = 0
        self.decided = 0  # looks whose points are there

    def look(self, faces: Sequence[Square]) -> None:
        """What the next look saw."""
        self._seen[self._looks] = faces
        self._looks += 1
        self._decide(CONFIRMING)

    def finish(self) -> None:
        """No look comes any more."""
        self._decide(0)

    def _decide(self, behind: int) -> None:
        while self.decided + behind in self._seen:
            k = self.decided
            self._choose(k)
            self.decided += 1
            del self._seen[k]
            self._points.pop(k - MEMORY - AHEAD - SMOOTHING, None)

    def _choose(self, k: int) -> None:
        coming = [self._seen[j] for j in range(k + 1, k + 1 + CONFIRMING) if j in self._seen]
        live = self._last is not None and k - self._last_look <= MEMORY
        here = self._seen[k]
        chosen = None
        if live and self._last is not None:
            chosen = _nearest(self._last, here, k - self._last_look)
        if chosen is None and not (live and self._still_there(coming, k)):
            chosen = self._newcomer(here, coming, live)
        if chosen is not None:
            self._last, self._last_look = chosen, k
        self._points[k] = Point(self._last, self._segment, chosen is not None)
        for j in range(k - SMOOTHING, k):  # a face that is about to be found for the first time
            if chosen is not None and j in self._points and self._points[j].box is None:
                self._points[j] = Point(chosen, self._segment, False)

    def _still_there(self, coming: Sequence[Sequence[Square]], k: int) -> bool:
        """Whether the face that was followed is about to be seen again."""
        if self._last is None:
            return False
        return any(_nearest(self._last, faces, k + n - self._last_look) for n, faces in enumerate(coming, 1))

    def _newcomer(self, here: Sequence[Square], coming: Sequence[Sequence[Square]], live: bool) -> Square | None:
        """The largest of the faces that are seen again."""
        sure = [face for face in here if any(_nearest(face, faces, n) for n, faces in enumerate(coming, 1))]
        if not coming and not live:  # nothing comes that could confirm it
            sure = list(here)
        if not sure:
            return None
        self._segment += 1
        return max(sure, key=lambda face: face.side)

    def smooth(self, k: int) -> Square | None:
        """The place at a look: the average of as many looks on both sides as belong to the same segment."""
        points = self._points
        reach = 0
        while reach < SMOOTHING and all(self._same(k, j) for j in (k - reach - 1, k + reach + 1)):
            reach += 1
        boxes = [box for j in range(k - reach, k + reach + 1) if (box := points[j].box) is not None]
        return Square(*(sum(values) / len(boxes) for values in zip(*boxes, strict=True))) if boxes else None

    def _same(self, k: int, j: int) -> bool:
        other = self._points.get(j)
        return other is not None and other.box is not None and other.segment == self._points[k].segment

    def at(self, look: float) -> tuple[Square | None, bool]:
        """The place between two looks, and whether a face was seen around then: from 1 s before to 0.4 s after."""
        look = min(look, self.decided - 1)
        before = int(look)
        after = min(before + 1, self.decided - 1)
        share = look - before
        nearest = after if share >= 0.5 else before
        seen = any(
            j in self._points and self._points[j].found for j in range(nearest - MEMORY, nearest + SMOOTHING + 1)
        )
        if not (self._same(before, before) and self._same(before, after)):
            return self.smooth(nearest), seen
        first, second = self.smooth(before), self.smooth(after)
        if first is None or second is None:
            return first or second, seen
        return Square(*(a + share * (b - a) for a, b in zip(first, second, strict=True))), seen


def _nearest(face: Square, others: Sequence[Square], looks: int) -> Square | None:
    """Which of some faces is the same one, `looks` later: not much larger or smaller, within half a side per look."""
    reach = face.side * min(1.0, 0.5 * max(1, looks))
    near = [
        (distance, other)
        for other in others
        if (distance := max(abs(other.x - face.x), abs(other.y - face.y))) <= reach
        and 1 / 1.6 <= other.side / face.side <= 1.6
    ]
    return min(near)[1] if near else None


class Followed(NamedTuple, Generic[T]):
    """What went in, for how many steps of the clock it is shown, where the face is, and whether one was seen around then."""

    held: T
    steps: int
    face: Square | None
    seen: bool


class FaceFollower(Generic[T]):
    """Frames on a clock, which wait until it is known where the face is in them.

    Args:
        fps: steps per second.
        detector: finds the faces in a picture.
    """

    def __init__(self, fps: float, detector: Any = None) -> None:
        self.interval = max(1, round(fps / LOOKS_PER_S))
        self._detector = detector or FaceDetector()
        self._track = FaceTrack()
        self._line: deque[tuple[T, int, float]] = deque()  # what is held, its steps, its middle in looks
        self._steps = 0

    def push(self, held: T, picture: Picture, steps: int) -> Iterator[Followed[T]]:
        """Take the frame that is shown for the next `steps` steps; what need not wait any longer."""
        first, behind = self._steps, self._steps + steps
        looks = -(-behind // self.interval) - -(-first // self.interval)  # multiples of the interval among them
        faces = self._detector(picture) if looks else []
        self._line.append((held, steps, (first + (steps - 1) / 2) / self.interval))
        self._steps = behind
        for _ in range(looks):  # the track keeps a few looks only, so what can leave leaves after each
            self._track.look(faces)
            while self._line and self._track.decided > int(self._line[0][2]) + AHEAD:
                yield self._leave()

    def finish(self) -> Iterator[Followed[T]]:
        """What is left."""
        self._track.finish()
        while self._line:
            yield self._leave()

    def _leave(self) -> Followed[T]:
        held, steps, look = self._line.popleft()
        return Followed(held, steps, *self._track.at(look))
