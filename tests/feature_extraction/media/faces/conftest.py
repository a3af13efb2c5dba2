from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import decode_image

PORTRAIT = Path(__file__).parents[3] / "data" / "face" / "astronaut.jpg"


@pytest.fixture(scope="session")
def portrait():
    """A photograph of a face (192, 192, 3)."""
    return decode_image(str(PORTRAIT)).permute(1, 2, 0).numpy()


@pytest.fixture(scope="session")
def portrait_frames(portrait):
    """A function that draws the portrait at each place (left, top) on a bright gradient; None: nobody."""

    def draw(places, size=120, shape=(180, 320)):
        picture = torch.from_numpy(portrait).permute(2, 0, 1)[None].float()
        small = torch.nn.functional.interpolate(picture, (size, size), mode="bilinear", antialias=True)
        face = small[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()
        y, x = np.mgrid[: shape[0], : shape[1]]
        background = np.stack([60 + x // 4, 90 + y // 4, 120 + x // 8], axis=-1).astype(np.uint8)
        frames = np.repeat(background[None], len(places), axis=0)
        for frame, place in zip(frames, places, strict=True):
            if place is not None:
                frame[place[1] : place[1] + size, place[0] : place[0] + size] = face
        return frames

    return draw
