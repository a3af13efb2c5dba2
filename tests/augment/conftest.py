from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from avloc.datasets.synthetic.speech_pieces import BUNDLED_SPEECH
from avloc.feature_extraction import decode


@pytest.fixture(scope="session")
def speech() -> npt.NDArray[np.float32]:
    """Three seconds of recorded speech: (48000,)."""
    recordings = sorted((BUNDLED_SPEECH / "en").iterdir())[:8]
    samples = np.concatenate([decode(path).samples for path in recordings])
    assert len(samples) >= 48_000
    return samples[:48_000].astype(np.float32)


@pytest.fixture(scope="session")
def frames() -> npt.NDArray[np.uint8]:
    """A coloured bar that moves down over a still gradient, four pixels per frame: (9, 46, 38, 3)."""
    rows, columns = np.mgrid[:46, :38]
    still = np.stack([60 + 2 * columns, 130 - columns, 40 + rows], axis=-1)
    images = np.repeat(still[None], 9, axis=0)
    for k, image in enumerate(images):
        image[4 * k + 3 : 4 * k + 9] = (230, 200, 60)
    return images.astype(np.uint8)
