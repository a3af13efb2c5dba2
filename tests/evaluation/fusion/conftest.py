from __future__ import annotations

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.matching import Labels, PredictionRows
from avloc.evaluation.truth import Truth


@pytest.fixture
def noisy_systems():
    """A function: systems that find the same segments, each with noise of its own in ends and scores → (rows, truth).

    Half of the clips are real copies of the fake ones' sources.
    """

    def build(systems: int, clips: int = 80, seed: int = 0, noise: float = 1.0):
        rng = np.random.default_rng(seed)
        labels = [
            np.array([[3 * k + 1.0, 3 * k + 2.0] for k in range(3)]) if c % 2 else np.zeros((0, 2))
            for c in range(clips)
        ]
        truth = Truth(
            [f"c{c}.mp4" for c in range(clips)],
            Labels.from_clips(labels),
            CategoricalColumn.from_strings([""] * clips),
            {},
            np.full(clips, 12.0),
            np.arange(clips) // 2,
        )
        rows = []
        for _ in range(systems):
            starts = np.tile(3 * np.arange(4) + 1.0, clips)
            is_fake = np.tile(np.arange(4) < 3, clips) & np.repeat(np.arange(clips) % 2 == 1, 4)
            log_odds = 1.5 * is_fake - 0.7 + noise * rng.standard_normal(len(starts))
            segments = np.stack([starts, starts + 1], axis=1) + 0.12 * rng.standard_normal((len(starts), 2))
            scores = 1 / (1 + np.exp(-log_odds))
            rows.append(PredictionRows(scores, segments, 4 * np.arange(clips + 1)))
        return rows, truth

    return build
