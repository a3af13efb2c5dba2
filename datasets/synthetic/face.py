"""A drawn talking face: identity + motion + mouth shapes > frames.

Flat shapes with anti-aliased edges over a textured skin, before a textured background, so that the picture has fine detail
everywhere for a camera to record and for a forger to lose. All sizes are fractions of the picture's side.

Legend: T frames, S side of the picture, P `PAD`; all sizes in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Random = np.random.Generator

PAD = 24  # room around the picture for the head to move into, in pixels
BLINK_EVERY_S = 3


@dataclass(frozen=True, slots=True)
class FaceGeometry:
    """Proportions of a face, as fractions of the picture's side.

    Attributes:
        x: middle of the head.
        y: middle of the head.
        rx: half width of the head.
        ry: half height of the head.
        eye: horizontal distance of an eye from the middle.
        eye_y: vertical offset of the eyes.
        mouth_y: vertical offset of the mouth.
        mouth: half width of the mouth.
        lip: thickness of the lips.
    """

    x: float
    y: float
    rx: float
    ry: float
    eye: float
    eye_y: float
    mouth_y: float
    mouth: float
    lip: float

    @classmethod
    def draw(cls, rng: Random) -> FaceGeometry:
        """Draw a face at random."""
        return cls(
            x=rng.uniform(0.44, 0.56),
            y=rng.uniform(0.46, 0.54),
            rx=rng.uniform(0.22, 0.28),
            ry=rng.uniform(0.30, 0.36),
            eye=rng.uniform(0.085, 0.115),
            eye_y=rng.uniform(-0.09, -0.05),
            mouth_y=rng.uniform(0.15, 0.19),
            mouth=rng.uniform(0.060, 0.085),
            lip=rng.uniform(0.012, 0.022),
        )


class FaceLayers(NamedTuple):
    """The still parts of a picture.

    Attributes:
        background: (S, S, 3).
        head: (S + 2P, S + 2P, 3).
        alpha: coverage of the head in [0, 1]: (S + 2P, S + 2P, 1).
        geometry: proportions of the face.
    """

    background: Image
    head: Image
    alpha: Image
    geometry: FaceGeometry


@dataclass(frozen=True, slots=True)
class Identity:
    """A person before a background, in a light; equal in all clips of that person.

    Attributes:
        seed: fixes the person.
        size: side of the picture in pixels.
    """

    seed: int
    size: int

    def layers(self) -> FaceLayers:
        """Draw the still parts."""
        rng = np.random.default_rng([self.seed, 1])
        geometry = FaceGeometry.draw(rng)
        background = _background(rng, self.size)
        head, alpha = _head(rng, self.size, geometry)
        return FaceLayers(background, head, alpha, geometry)


@dataclass(frozen=True, slots=True)
class Performance:
    """The moving parts, per frame.

    Attributes:
        offset: the head's offset in pixels, x and y: (T, 2).
        opening: mouth opening in [0, 1]: (T,).
        width: mouth width in [0, 1]: (T,).
        closure: eye closure in [0, 1]: (T,).
    """

    offset: npt.NDArray[np.float64]
    opening: npt.NDArray[np.float64]
    width: npt.NDArray[np.float64]
    closure: npt.NDArray[np.float64]


def perform(rng: Random, opening: npt.NDArray[np.float64], width: npt.NDArray[np.float64], fps: float) -> Performance:
    """Add head motion (a smooth random walk) and blinks (about one in 3 s) to mouth shapes.

    Args:
        rng: source of randomness.
        opening: mouth opening in [0, 1]: (T,).
        width: mouth width in [0, 1]: (T,).
        fps: frames per second.
    """
    from scipy.ndimage import gaussian_filter1d

    length = len(opening)
    walk = np.cumsum(rng.normal(0, 1, (length + 64, 2)), axis=0)
    walk = gaussian_filter1d(walk, rng.uniform(5, 10), axis=0)[32 : 32 + length]
    walk -= walk.mean(axis=0)
    offset = np.clip(walk * rng.uniform(0.25, 0.6), -PAD + 3, PAD - 3)
    closure = np.zeros(length)
    for start in np.flatnonzero(rng.random(length) < 1 / (BLINK_EVERY_S * fps)):
        shape = np.array([0.4, 0.9, 1.0, 0.7, 0.3])[: length - start]
        closure[start : start + len(shape)] = np.maximum(closure[start : start + len(shape)], shape)
    return Performance(offset, opening, width, closure)


def render(identity: Identity, performance: Performance) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Draw every frame without camera noise.

    Returns:
        Frames (T, S, S, 3) uint8, and the mouth's middle per frame as x and y in pixels (T, 2).

    >>> still = np.zeros(5)
    >>> frames, mouths = render(Identity(seed=1, size=64), Performance(np.zeros((5, 2)), still, still, still))
    >>> frames.shape, mouths.shape
    ((5, 64, 64, 3), (5, 2))
    """
    size = identity.size
    background, head, alpha, geometry = identity.layers()
    colours = np.random.default_rng([identity.seed, 2])
    lip = np.array([150, 60, 60]) + colours.normal(0, 15, 3)
    iris = colours.uniform(30, 120, 3)
    skin = head[PAD + size // 2, PAD + size // 2]
    centre = np.array([geometry.x, geometry.y]) * size
    frames = np.empty((len(performance.opening), size, size, 3), dtype=np.uint8)
    mouths = centre + performance.offset + np.array([0, geometry.mouth_y * size])
    for t in range(len(frames)):
        image = background + _shift(alpha, performance.offset[t], size) * (
            _shift(head, performance.offset[t], size) - background
        )
        _draw_mouth(image, mouths[t], geometry, performance.opening[t], performance.width[t], lip)
        for side in (-1, 1):
            eye = centre + performance.offset[t] + np.array([side * geometry.eye, geometry.eye_y]) * size
            _draw_eye(image, eye, performance.closure[t], iris, skin)
        frames[t] = np.clip(image, 0, 255)
    return frames, mouths


def add_camera_noise(rng: Random, frames: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.uint8]:
    """Add a sensor's grain, new in every frame and slightly blurred by demosaicing.

    Args:
        rng: source of randomness.
        frames: (T, H, W, 3) uint8.
        sigma: standard deviation in grey levels.
    """
    _, height, width, _ = frames.shape
    # One large sheet of noise, read at a random place per frame: drawing fresh noise would take most of the time.
    sheet = rng.normal(0, sigma, (height * 2, width * 2)).astype(np.float32)
    sheet = 0.75 * sheet + 0.25 * np.roll(sheet, 1, axis=1)
    noisy = np.empty_like(frames)
    for t, frame in enumerate(frames):
        y, x = rng.integers(0, height), rng.integers(0, width)
        noise = sheet[y : y + height, x : x + width, None]
        noisy[t] = np.clip(frame + noise, 0, 255)
    return noisy


def _texture(rng: Random, side: int, scale: float) -> Image:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.normal(0, 1, (side, side)), scale, mode="wrap")
    return (noise / noise.std()).astype(np.float32)


def _background(rng: Random, size: int) -> Image:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * x + np.sin(angle) * y)[..., None]
    image = rng.uniform(40, 200, 3) * (1 - ramp) + rng.uniform(40, 200, 3) * ramp
    for _ in range(rng.integers(2, 6)):  # furniture, windows, pictures
        left, top = rng.uniform(0, 0.8, 2)
        inside = (x > left) & (x < left + rng.uniform(0.1, 0.4)) & (y > top) & (y < top + rng.uniform(0.1, 0.4))
        image = np.where(inside[..., None], 0.5 * image + 0.5 * rng.uniform(20, 230, 3), image)
    image = image + _texture(rng, size, rng.uniform(0.6, 3))[..., None] * rng.uniform(2, 10)
    return np.clip(image, 0, 255).astype(np.float32)


def _head(rng: Random, size: int, geometry: FaceGeometry) -> tuple[Image, Image]:
    side = size + 2 * PAD
    y, x = (np.mgrid[0:side, 0:side].astype(np.float32) - PAD) / size
    x, y = x - geometry.x, y - geometry.y
    tone = rng.uniform(0.35, 1.0)
    skin = np.array([225, 180, 150]) * tone + rng.normal(0, 8, 3)
    light = rng.uniform(-0.8, 0.8)
    shade = 1 + light * x - 0.5 * (x**2 + y**2)
    head = skin * shade[..., None] + (_texture(rng, side, 0.7) * rng.uniform(3, 6))[..., None]
    face = _ellipse(x, y, geometry.rx, geometry.ry, size)
    neck = _ellipse(x, y - 0.45, geometry.rx * 0.55, 0.3, size)
    shirt = _ellipse(x, y - 0.72, 0.46, 0.32, size)
    hair_line = rng.uniform(-0.22, -0.16)
    hair = _ellipse(x, y + 0.03, geometry.rx * 1.12, geometry.ry * 1.08, size)
    strands = _texture(rng, side, 0.9)[..., None]
    image = rng.uniform(10, 120, 3) + strands * 8  # hair, visible where nothing covers it
    wool = rng.uniform(20, 220, 3) + _texture(rng, side, 0.8)[..., None] * 6
    fringe = np.clip((y - hair_line - 0.03 * np.cos(x * rng.uniform(5, 30))) * size, 0, 1)
    for mask, layer in ((neck, head * 0.85), (shirt, wool), (face * fringe, head)):
        image = image * (1 - mask[..., None]) + layer * mask[..., None]
    for eye in (-geometry.eye, geometry.eye):
        brow = _ellipse(x - eye, y - geometry.eye_y + 0.05, 0.045, 0.009, size)[..., None]
        image = image * (1 - brow) + rng.uniform(10, 60) * brow
    nose = _ellipse(x - 0.004, y - 0.05, 0.03, 0.055, size)[..., None] * 0.18
    image = image * (1 - nose)
    alpha = np.max(np.stack([face, neck, shirt, hair]), axis=0)[..., None]
    return np.clip(image, 0, 255).astype(np.float32), alpha.astype(np.float32)


def _ellipse(x: Image, y: Image, rx: float, ry: float, size: float) -> Image:
    """Return the coverage in [0, 1] of an ellipse around 0, with an edge one pixel wide."""
    distance = (1 - np.sqrt((x / rx) ** 2 + (y / ry) ** 2)) * min(rx, ry) * size
    return np.clip(distance + 0.5, 0, 1).astype(np.float32)


def _shift(layer: Image, offset: npt.NDArray[np.float64], size: int) -> Image:
    """Move a layer by fractions of pixels (bilinear) and cut it to the picture."""
    x, y = PAD - offset
    ix, iy = int(np.floor(x)), int(np.floor(y))
    fx, fy = np.float32(x - ix), np.float32(y - iy)
    rows = layer[iy : iy + size + 1]
    rows = rows[:-1] * (1 - fy) + rows[1:] * fy
    return rows[:, ix : ix + size] * (1 - fx) + rows[:, ix + 1 : ix + size + 1] * fx


def _patch(image: Image, centre: npt.NDArray[np.float64], radius: int) -> tuple[Image, Image, Image]:
    left, top = int(centre[0]) - radius, int(centre[1]) - radius
    left, top = max(0, left), max(0, top)
    view = image[top : top + 2 * radius, left : left + 2 * radius]
    y, x = np.mgrid[0 : view.shape[0], 0 : view.shape[1]].astype(np.float32)
    return view, x + np.float32(left - centre[0]), y + np.float32(top - centre[1])


def _blend(view: Image, mask: Image, colour: npt.ArrayLike) -> None:
    view += mask[..., None] * (np.asarray(colour, dtype=np.float32) - view)


def _draw_mouth(
    image: Image,
    centre: npt.NDArray[np.float64],
    geometry: FaceGeometry,
    opening: float,
    width: float,
    lip: npt.ArrayLike,
) -> None:
    size = image.shape[0]
    view, x, y = _patch(image, centre, round(0.13 * size))
    rx = geometry.mouth * (0.75 + 0.4 * width) * size
    inner = (0.002 + 0.05 * opening) * size
    outer = inner + geometry.lip * size
    lips = _ellipse(x, y, rx + geometry.lip * size * 0.6, outer, 1)
    grain = 1 + 0.06 * np.sin(x * 1.9 + 3 * np.cos(y * 0.8))  # creases of the lips
    _blend(view, lips, np.asarray(lip) * grain[..., None])
    _blend(view, _ellipse(x, y, rx, inner, 1), [45, 15, 18])
    if opening > 0.15:
        teeth = _ellipse(x, y + inner * 0.55, rx * 0.8, inner * 0.35, 1) * (1 - 0.35 * (np.abs(x % 4 - 2) < 0.5))
        _blend(view, teeth.astype(np.float32), [225, 220, 205])


def _draw_eye(
    image: Image, centre: npt.NDArray[np.float64], closure: float, iris: npt.ArrayLike, skin: npt.ArrayLike
) -> None:
    size = image.shape[0]
    view, x, y = _patch(image, centre, round(0.06 * size))
    height = 0.020 * size * (1 - closure)
    if height < 0.8:
        _blend(view, _ellipse(x, y, 0.04 * size, 1.0, 1), np.asarray(skin) * 0.45)
        return
    white = _ellipse(x, y, 0.04 * size, height, 1)
    _blend(view, white, [235, 232, 228])
    _blend(view, np.minimum(white, _ellipse(x, y, 0.018 * size, 0.018 * size, 1)), iris)
    _blend(view, np.minimum(white, _ellipse(x, y, 0.008 * size, 0.008 * size, 1)), [10, 10, 10])
