from __future__ import annotations

import numpy as np
import pytest

from avloc.core.naming import SHARES, choose_modality_share
from avloc.core.proposals import MODALITY_SHARE
from avloc.core.records import MODALITIES
from avloc.localization.segment import modality_name

AUDIO, VISUAL, BOTH = [True, False], [False, True], [True, True]


def test_share_lies_between_the_kinds():
    forged = [AUDIO, VISUAL, BOTH, BOTH]
    scores = [[0.8, 0.2], [0.1, 0.9], [0.9, 0.3], [0.33, 0.9]]  # ratios 0.25, 0.11, 0.33 and 0.37
    assert choose_modality_share(forged, scores) == 0.3


def test_each_kind_counts_the_same_however_rare():
    """At 0.5 nine of ten of the frequent kind are right and none of the other; at 0.4 all of the rare one and eight of ten."""
    forged = [AUDIO] * 10 + [BOTH]
    scores = [[1.0, 0.1]] * 8 + [[1.0, 0.45], [1.0, 0.55]] + [[1.0, 0.42]]
    assert choose_modality_share(forged, scores) == 0.4


def test_of_equal_shares_the_one_near_the_default_is_chosen():
    assert choose_modality_share([AUDIO, BOTH], [[1.0, 0.0], [1.0, 1.0]]) == MODALITY_SHARE
    assert choose_modality_share([AUDIO, BOTH], [[1.0, 0.0], [1.0, 0.15]]) == 0.1


@pytest.mark.parametrize("forged", [np.zeros((0, 2), bool), [AUDIO], [BOTH] * 3])
def test_one_kind_has_no_share(forged):
    assert choose_modality_share(forged, np.full((len(forged), 2), 0.5)) is None


def test_the_share_names_as_results_do():
    """No other share of the list names more segments rightly, counted one by one by the function of the results."""
    rng = np.random.default_rng(3)
    forged = rng.permuted([AUDIO, VISUAL, BOTH] * 13, axis=0)
    scores = np.where(forged, rng.uniform(0.3, 1, forged.shape), rng.uniform(0, 0.5, forged.shape))
    names = np.where(forged.all(axis=1), "both", np.array(MODALITIES)[forged.argmax(axis=1)])

    def right(share):
        named = np.array([modality_name(row, share) for row in scores])
        return np.mean([(named == name)[names == name].mean() for name in ("audio", "visual", "both")])

    assert right(choose_modality_share(forged, scores)) == max(map(right, SHARES))
