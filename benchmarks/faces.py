"""The face detector on real frames: rolled, dark, noisy, squeezed, small and covered; and its time per frame.

    python benchmarks/faces.py --clips F     # a folder of clips with one face each; without, that of AVLOC_FOOTAGE

Truth is the face that the detector finds in the unaltered frame, moved as the frame is; frames without exactly one are left out
and counted. A face is found if its middle is within half a side of the true one and its side is within a factor of 1.6; every
other detection is a false alarm. The error of the mouth is the distance from the true one, relative to the face's side.

Where OpenCV 4 is installed, its Haar cascade `haarcascade_frontalface_alt` (on the picture shrunk to 320 pixels, then on the same
with its histogram equalized if that finds nothing) is measured beside it. Times are CPU time on one core.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import functional as transforms

from avloc.feature_extraction.media.cropping import ArrayPicture, Face, Pixels, Reformatters
from avloc.feature_extraction.media.faces.detector import FaceDetector
from avloc.feature_extraction.media.faces.track import PICTURES_AT_ONCE

SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
Detect = Callable[[Sequence[Pixels]], list[list[Face]]]
"""A function from frames to the faces in each."""


class Altered(NamedTuple):
    """A frame (H, W, 3), and the matrix (2, 3) that maps x, y, 1 of the unaltered frame to its x, y."""

    frame: Pixels
    matrix: npt.NDArray[np.float64]


class Count(NamedTuple):
    """Faces that were detected, false alarms, and the mean error of the detected faces' mouths."""

    hits: int
    false: int
    mouth_error: float


def rolled(frame: Pixels, degrees: float) -> Altered:
    """Turn a frame clockwise around its middle; the corners that appear are grey."""
    height, width = frame.shape[:2]
    turned = transforms.rotate(
        torch.from_numpy(frame).permute(2, 0, 1), -degrees, transforms.InterpolationMode.BILINEAR, fill=[128.0] * 3
    )
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn, middle = np.array([[cos, -sin], [sin, cos]]), np.array([(width - 1) / 2, (height - 1) / 2])
    return Altered(turned.permute(1, 2, 0).numpy(), np.column_stack([turn, middle - turn @ middle]))


def scaled(frame: Pixels, x: float, y: float) -> Altered:
    """Scale a frame and put it into the middle of a grey one of the old size."""
    height, width = frame.shape[:2]
    size = [round(height * y), round(width * x)]
    small = transforms.resize(torch.from_numpy(frame).permute(2, 0, 1), size, antialias=True).permute(1, 2, 0).numpy()
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    canvas = np.full_like(frame, 128)
    canvas[top : top + size[0], left : left + size[1]] = small
    return Altered(canvas, np.array([[x, 0, left], [0, y, top]]))


def unmoved(frame: npt.NDArray[np.floating]) -> Altered:
    """A frame whose pixels changed and stayed in their places."""
    return Altered(np.clip(frame, 0, 255).astype(np.uint8), np.eye(2, 3))


def covered(frame: Pixels, face: Face, top: float, bottom: float) -> Altered:
    """Cover a face by a black bar, from `top` to `bottom` of its box in parts of its side."""
    first, last = (round(face.y + (edge - 0.5) * face.side) for edge in (top, bottom))
    left, right = round(face.x - face.side / 2), round(face.x + face.side / 2)
    frame = frame.copy()
    frame[max(first, 0) : max(last, 0), max(left, 0) : max(right, 0)] = 0
    return Altered(frame, np.eye(2, 3))


def noise(frame: Pixels, deviation: float) -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).normal(0, deviation, frame.shape)


CONDITIONS: dict[str, Callable[[Pixels, Face], Altered]] = {
    "as they are": lambda frame, _: unmoved(frame),
    "rolled by 15°": lambda frame, _: rolled(frame, 15),
    "rolled by 30°": lambda frame, _: rolled(frame, 30),
    "rolled by 45°": lambda frame, _: rolled(frame, 45),
    "dark (15 %)": lambda frame, _: unmoved(0.15 * frame),
    "dark (5 %)": lambda frame, _: unmoved(0.05 * frame),
    "noise (σ 25)": lambda frame, _: unmoved(frame + noise(frame, 25)),
    "noise (σ 50)": lambda frame, _: unmoved(frame + noise(frame, 50)),
    "squeezed to 60 % width": lambda frame, _: scaled(frame, 0.6, 1),
    "squeezed to 60 % height": lambda frame, _: scaled(frame, 1, 0.6),
    "small (1/3)": lambda frame, _: scaled(frame, 1 / 3, 1 / 3),
    "small (1/5)": lambda frame, _: scaled(frame, 1 / 5, 1 / 5),
    "eyes covered": lambda frame, face: covered(frame, face, 0.2, 0.45),
    "mouth covered": lambda frame, face: covered(frame, face, 0.65, 0.95),
}


def moved(face: Face, matrix: npt.NDArray[np.float64]) -> Face:
    """A face in the altered frame; its side becomes that of a square of the same area."""
    x, y = matrix @ [face.x, face.y, 1]
    mouth_x, mouth_y = matrix @ [face.mouth_x, face.mouth_y, 1]
    scale = np.abs(np.linalg.det(matrix[:, :2])) ** 0.5
    return Face(float(x), float(y), float(face.side * scale), float(mouth_x), float(mouth_y))


def is_same(face: Face, true: Face) -> bool:
    """Tell if a detection is the true face."""
    near = max(abs(face.x - true.x), abs(face.y - true.y)) <= true.side / 2
    return near and 1 / 1.6 <= face.side / true.side <= 1.6


def count(detect: Detect, altered: Sequence[Altered], truth: Sequence[Face]) -> Count:
    """Count the detected faces among frames with one face each."""
    hits, false, errors = 0, 0, []
    for (_, matrix), face, detected in zip(altered, truth, detect([a.frame for a in altered]), strict=True):
        true = moved(face, matrix)
        same = [d for d in detected if is_same(d, true)]
        hits, false = hits + bool(same), false + len(detected) - bool(same)
        if same:
            errors.append(np.hypot(same[0].mouth_x - true.mouth_x, same[0].mouth_y - true.mouth_y) / true.side)
    return Count(hits, false, float(np.mean(errors)) if errors else np.nan)


def mtcnn(frames: Sequence[Pixels], batch: int = PICTURES_AT_ONCE) -> list[list[Face]]:
    """The package's detector, on a few frames at a time."""
    detector, reformatters = FaceDetector(), Reformatters()
    pictures = [ArrayPicture(frame, reformatters) for frame in frames]
    return [faces for k in range(0, len(pictures), batch) for faces in detector(pictures[k : k + batch])]


def haar() -> Detect | None:
    """OpenCV's cascade; None if OpenCV 4 is missing."""
    try:
        import cv2

        cv2.setNumThreads(1)
        cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt.xml")
    except (ImportError, AttributeError):
        return None

    def detect_one(frame: Pixels) -> list[Face]:
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        shrink = min(1.0, 320 / max(gray.shape))
        gray = cv2.resize(gray, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        for image in (gray, cv2.equalizeHist(gray)):
            boxes = cascade.detectMultiScale(image, scaleFactor=1.1, minNeighbors=3, minSize=(24, 24))
            if len(boxes):
                boxes = np.asarray(boxes) / shrink
                return [Face(x + w / 2, y + w / 2, w, x + w / 2, y + 0.8 * w) for x, y, w, _ in boxes.tolist()]
        return []

    return lambda frames: [detect_one(frame) for frame in frames]


def read_frames(folder: Path, per_clip: int) -> Iterator[Pixels]:
    """Evenly spaced frames of each clip in a folder."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        for k in np.linspace(0, len(frames) - 1, per_clip).round().astype(int):
            yield frames[k].to_ndarray(format="rgb24")


def cpu_ms(detect: Detect, frames: Sequence[Pixels], rounds: int = 3) -> float:
    """The least CPU time per frame among a few rounds, in milliseconds, after an untimed one."""
    durations_s = []
    for _ in range(rounds + 1):
        begin = time.process_time()
        detect(frames)
        durations_s.append(time.process_time() - begin)
    return 1000 * min(durations_s[1:]) / len(frames)


def measure(frames: Sequence[Pixels]) -> list[str]:
    """The lines of the table, and of the times."""
    pairs = [(frame, faces[0]) for frame, faces in zip(frames, mtcnn(frames), strict=True) if len(faces) == 1]
    truth, detectors = [face for _, face in pairs], {"MTCNN": mtcnn, "Haar": haar()}
    names = [name for name, detect in detectors.items() if detect]
    lines = [f"{len(pairs)} of {len(frames)} frames, those with exactly one face", ""]
    lines += [
        f"| frames | {' | '.join(f'{n}: found | false' for n in names)} | mouth |",
        "|---" * (2 + 2 * len(names)) + "|",
    ]
    for condition, alter in CONDITIONS.items():
        altered = [alter(frame, face) for frame, face in pairs]
        counts = [count(detect, altered, truth) for detect in detectors.values() if detect]
        cells = " | ".join(f"{c.hits} | {c.false}" for c in counts)
        lines.append(f"| {condition} | {cells} | {100 * counts[0].mouth_error:.1f} % |")
    lines.append("")
    timed: dict[str, Detect | None] = {
        f"MTCNN, {PICTURES_AT_ONCE} frames at a time": mtcnn,
        "MTCNN, one at a time": lambda frames: mtcnn(frames, 1),
        "Haar": detectors["Haar"],
    }
    lines += [f"{name}: {cpu_ms(detect, frames):.1f} ms per frame" for name, detect in timed.items() if detect]
    return lines


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=os.environ.get("AVLOC_FOOTAGE"), help="folder of clips")
    parser.add_argument("--frames", type=int, default=5, help="per clip")
    options = parser.parse_args(words)
    if options.clips is None:
        parser.error("name a folder of clips by --clips or AVLOC_FOOTAGE")
    torch.set_num_threads(1)
    frames = list(read_frames(Path(options.clips), options.frames))
    if not frames:
        parser.error(f"no clips in {options.clips}")
    print("\n".join(measure(frames)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
