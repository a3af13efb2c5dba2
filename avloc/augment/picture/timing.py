"""Frames > some of them dropped, and the one before held in their place, so that all others stay at their times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from avloc.augment.augmentation import Frames, PictureAugmentation, Random


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFrames(PictureAugmentation):
    """Dropped frames: a stuttering or frozen picture.

    Attributes:
        share: of the frames that are dropped, at level 1, at most; half the level drops half as many.
        run: frames that are dropped in a row.

    >>> frames = np.arange(4, dtype=np.uint8)[:, None, None]
    >>> HeldFrames(share=0.75, run=3)(np.random.default_rng(1), frames).ravel().tolist()
    [0, 0, 0, 0]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (0.0, 1.0), "run": (1, 1000)}
    BLENDS: ClassVar[bool] = False

    share: float = 0.1
    run: int = 1

    def change(self, rng: Random, frames: Frames) -> Frames:
        shown = np.arange(len(frames))
        dropped = min(round(self.share * self.level * len(frames)), len(frames) - 1)
        run = min(self.run, dropped)
        if run:
            begins = 1 + rng.choice(len(frames) - run, size=min(dropped // run, len(frames) - run), replace=False)
            shown[(begins[:, None] + np.arange(run)).ravel()] = 0
        return frames[np.maximum.accumulate(shown)]
