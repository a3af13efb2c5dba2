from __future__ import annotations

import numpy as np
import pytest

from avloc.core.calibration import best_scores, clip_probabilities, logit, platt, platt_probability
from avloc.core.proposals import Proposals
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.training.clip_scores import ClipScores


def test_a_known_slope_and_offset_come_back():
    random = np.random.default_rng(0)
    scores = random.uniform(0.01, 0.99, 20_000)
    chance = 1 / (1 + np.exp(-(2.5 * logit(scores) + 1.2)))
    slope, offset = platt(scores, random.random(20_000) < chance)
    assert (slope, offset) == (pytest.approx(2.5, rel=0.05), pytest.approx(1.2, abs=0.08))
    assert platt_probability(0.5, (slope, offset)) == pytest.approx(1 / (1 + np.exp(-offset)))


def test_few_clips_and_odd_ones():
    assert platt([0.3, 0.4], [True, True]) is None
    assert platt([], []) is None
    slope, _ = platt(
        [0.1, 0.2, 0.8, 0.9, 1.0, 0.0], [False, False, True, True, True, False]
    )  # told apart without a mistake
    assert np.isfinite(slope)
    slope, offset = platt([0.9, 0.8, 0.2, 0.1], [False, False, True, True])  # worse than chance
    assert (slope, offset) == (0, pytest.approx(0))  # says nothing: what is usual


def test_what_is_told_of_a_clip():
    found = Proposals(np.array([[0, 1.0], [2, 3]]), np.array([0.6, 0.4]), np.array([[0.1, 0.7], [0.5, 0.2]]))
    assert best_scores(found).tolist() == [0.6, 0.5, 0.7]
    assert clip_probabilities(found, None) == {"clip": 0.6, "audio": 0.5, "visual": 0.7}
    assert clip_probabilities(found, {"clip": (2.0, 0.0)}) == {
        "clip": pytest.approx(0.36 / 0.52),
        "audio": 0.5,
        "visual": 0.7,
    }
    assert clip_probabilities(Proposals.empty(), {})["clip"] == 0


def test_of_a_validation_split():
    scores = ClipScores()
    for k in range(40):
        fake = k % 2 == 0
        found = Proposals(
            np.array([[0, 1.0]]), np.array([0.7 if fake else 0.2]), np.array([[0.05, 0.7 if fake else 0.2]])
        )
        record = VideoRecord(str(k), "val", None, (), (Segment(0, 1),) if fake else ())
        scores.update(found, record)
    fits = scores.compute()
    assert set(fits) == {"clip", "visual"}  # no sound was forged: nothing can be said of it
    assert platt_probability(0.7, fits["clip"]) > 0.9
    assert platt_probability(0.2, fits["clip"]) < 0.1
