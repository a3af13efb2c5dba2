from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.evidence.folds import source_folds


def test_sources_stay_together_and_classes_are_spread():
    rng = np.random.default_rng(0)
    source = rng.integers(0, 37, 400)
    is_fake = rng.random(400) < 0.5
    is_fake[source < 7] = True  # sources of one class
    fold = source_folds(source, is_fake)
    assert set(fold.tolist()) == set(range(5))
    assert all(len(set(fold[source == s].tolist())) == 1 for s in range(37))
    assert all(is_fake[fold == k].any() and (~is_fake[fold == k]).any() for k in range(5))
    assert source_folds(source, is_fake, seed=0).tolist() == fold.tolist()
    assert source_folds(source, is_fake, seed=1).tolist() != fold.tolist()


def test_two_sources_of_each_class_are_always_apart():
    for seed in range(9):
        fold = source_folds(np.arange(4), np.array([True, True, False, False]), folds=2, seed=seed)
        assert sorted(fold[:2].tolist()) == sorted(fold[2:].tolist()) == [0, 1]


def test_one_source_of_a_class_is_refused():
    with pytest.raises(
        AvlocError, match="at least two source videos each, got 1 with fake clips; take labels of more clips"
    ):
        source_folds(np.array([0, 0, 1, 2]), np.array([True, True, False, False]))
    with pytest.raises(AvlocError, match="got 0 with fake clips"):
        source_folds(np.zeros(0, int), np.zeros(0, bool))
