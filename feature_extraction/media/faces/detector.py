"""Pictures > MTCNN on smaller copies > the faces in each, in the pictures' own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.media.cropping import Face, Picture, Pixels

if TYPE_CHECKING:
    from avloc.feature_extraction.media.faces.mtcnn import Faces

LONGEST_SIDE = 480  # pixels of the copy that is searched
SMALLEST_FACE = 24  # pixels of the same copy
ENOUGH_CONTRAST = 100  # levels; below that, a copy without a face is searched again with its contrast stretched


class FaceDetector:
    """A detector of faces and their mouths; its weights come with the package (`weights/CREDITS.md`)."""

    def __call__(self, pictures: Sequence[Picture]) -> list[list[Face]]:
        """Detect the faces in each picture, the most probable first; pictures of one size cost less together."""
        faces: list[list[Face]] = []
        for _, same in groupby(pictures, key=lambda picture: (picture.height, picture.width)):
            faces += self._detect(list(same))
        return faces

    def _detect(self, pictures: Sequence[Picture]) -> list[list[Face]]:
        """Detect the faces in pictures of one size."""
        from avloc.feature_extraction.media.faces.mtcnn import detect  # torch takes seconds, and few clips are cropped

        sides = pictures[0].height, pictures[0].width
        shrink = min(1.0, LONGEST_SIDE / max(sides))
        height, width = (max(1, round(side * shrink)) for side in sides)
        if min(height, width) < SMALLEST_FACE:
            return [[] for _ in pictures]
        zoom = np.array([sides[1] / width, sides[0] / height], dtype=np.float32)
        copies = np.stack([picture.small(height, width) for picture in pictures])
        detected = detect(copies, SMALLEST_FACE)
        stretched = {k: stretch(copies[k]) for k, faces in enumerate(detected) if not len(faces.boxes)}
        again = {k: copy for k, copy in stretched.items() if copy is not None}
        if again:
            for k, faces in zip(again, detect(np.stack(list(again.values())), SMALLEST_FACE), strict=True):
                detected[k] = faces
        return [_to_faces(faces, zoom) for faces in detected]


def stretch(picture: Pixels) -> Pixels | None:
    """Stretch the contrast of a dark or pale picture to the whole range; None: it has enough, or none at all.

    >>> stretch(np.uint8([[[10, 20, 30]]])).tolist()
    [[[0, 127, 255]]]
    """
    low, high = np.percentile(picture[::4, ::4], (1, 99))
    if high - low > ENOUGH_CONTRAST or high - low < 1:
        return None
    return np.clip((picture - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def _to_faces(detected: Faces, zoom: npt.NDArray[np.float32]) -> list[Face]:
    """Turn boxes and landmarks into faces, with x and y `zoom` times as large."""
    corners = detected.boxes.reshape(-1, 2, 2) * zoom
    middles, sides = corners.mean(axis=1), (corners[:, 1] - corners[:, 0]).max(axis=1)
    mouths = detected.landmarks[:, 3:].mean(axis=1) * zoom
    rows = np.column_stack([middles, sides, mouths])
    return [Face(*row) for row in rows.astype(float).tolist()]
