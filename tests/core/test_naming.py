from __future__ import annotations

import numpy as np
import pytest

from avloc.core.naming import SHARES, choose_modality_share, find_segments, match_fakes
from avloc.core.proposals import MODALITY_SHARE, Proposals
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment
from avloc.localization.segment import modality_name

AUDIO, VISUAL, BOTH = [True, False], [False, True], [True, True]


def test_a_fake_is_found_once():
    segments = np.array([[0.0, 1.0], [0.1, 1.0], [4.0, 5.0], [4.0, 4.4]])
    proposals = Proposals(segments, np.array([0.9, 0.8, 0.7, 0.6]), np.zeros((4, 2)))
    assert match_fakes(proposals, np.array([[4.0, 4.6], [0.0, 1.2]])).tolist() == [1, -1, 0, -1]
    assert match_fakes(proposals, np.zeros((0, 2))).tolist() == [-1] * 4
    assert match_fakes(Proposals.empty(), np.array([[0.0, 1.0]])).tolist() == []


def test_found_segments_have_the_modalities_of_their_fake():
    """The sound of the word at 1 s and its mouth are one fake; the word at 4 s has no row with an IoU of a half."""
    audio, visual = (Segment(1.0, 2.0), Segment(4.0, 5.0)), (Segment(1.1, 2.1), Segment(7.0, 8.0))
    segments = np.array([[7.0, 8.0], [1.0, 2.2], [1.0, 2.0], [4.6, 5.4]])
    proposals = Proposals(segments, np.array([0.9, 0.8, 0.7, 0.6]), np.zeros((4, 2)))
    found = find_segments(proposals, VideoRecord("a.mp4", "val", 9.0, audio, visual))
    assert found.rows.tolist() == [0, 1]
    assert found.forged.tolist() == [VISUAL, BOTH]
    nothing = find_segments(proposals, VideoRecord("b.mp4", "val", 9.0))
    assert (nothing.rows.shape, nothing.forged.shape) == ((0,), (0, 2))


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
