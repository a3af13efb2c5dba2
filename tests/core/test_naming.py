from __future__ import annotations

import numpy as np
import pytest

from avloc.core.naming import FEWEST_SEGMENTS, SHARES, choose_modality_share, find_segments, match_fakes
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


def test_a_segment_finds_the_fake_of_the_highest_iou_that_is_free():
    """The first segment overlaps both fakes, by 0.54 and 0.82; the second one finds what is left."""
    fakes = np.array([[1.0, 2.0], [1.4, 2.4]])
    proposals = Proposals(np.array([[1.3, 2.3], [1.2, 2.2]]), np.array([0.9, 0.8]), np.zeros((2, 2)))
    assert match_fakes(proposals, fakes).tolist() == [1, 0]
    record = VideoRecord("a.mp4", "val", 9.0, (Segment(1.0, 2.0),), (Segment(1.4, 2.4),))
    assert find_segments(proposals, record).forged.tolist() == [VISUAL, AUDIO]


def test_found_segments_have_the_modalities_of_their_fake():
    """The sound of the word at 1 s and its mouth are one fake; the word at 4 s has no row with an IoU of a half."""
    audio, visual = (Segment(1.0, 2.0), Segment(4.0, 5.0)), (Segment(1.1, 2.1), Segment(7.0, 8.0))
    segments = np.array([[7.0, 8.0], [1.0, 2.2], [1.0, 2.0], [4.6, 5.4]])
    proposals = Proposals(
        segments, np.array([0.9, 0.8, 0.7, 0.6]), np.array([[0.1, 0.9], [0.7, 0.8], [0.7, 0.1], [0.6, 0.1]])
    )
    right = find_segments(proposals, VideoRecord("a.mp4", "val", 9.0, audio, visual))
    assert right.rows.tolist() == [0, 1]
    assert right.forged.tolist() == [VISUAL, BOTH]
    assert (right.scores.tolist(), right.modality_scores.tolist()) == ([0.9, 0.8], [[0.1, 0.9], [0.7, 0.8]])
    nothing = find_segments(proposals, VideoRecord("b.mp4", "val", 9.0))
    assert [part.shape for part in nothing] == [(0,), (0, 2), (0,), (0, 2)]


def test_the_share_of_segments_above_a_score():
    """The weaker half would ask for another share."""
    audio = tuple(Segment(10.0 * k, 10.0 * k + 1) for k in range(4 * FEWEST_SEGMENTS))
    visual = audio[::2]
    segments = np.array([[s.start_s, s.end_s] for s in audio])
    scores = np.where(np.arange(len(audio)) < len(audio) // 2, 0.9, 0.4)
    weaker = np.where(
        np.arange(len(audio)) % 2 == 0, np.where(scores > 0.5, 0.3, 0.75), np.where(scores > 0.5, 0.15, 0.65)
    )
    proposals = Proposals(segments, scores, np.stack([scores, scores * weaker], axis=1))
    right = find_segments(proposals, VideoRecord("a.mp4", "val", 999.0, audio, visual))
    assert (right.modality_share(0.5), right.modality_share(0.95)) == (0.3, None)


def test_share_lies_between_the_kinds():
    forged = [AUDIO, VISUAL, BOTH, BOTH] * FEWEST_SEGMENTS
    scores = [[0.8, 0.2], [0.1, 0.9], [0.9, 0.3], [0.33, 0.9]] * FEWEST_SEGMENTS  # ratios 0.25, 0.11, 0.33 and 0.37
    assert choose_modality_share(forged, scores) == 0.3


def test_each_kind_counts_the_same_however_rare():
    """At 0.5 nine tenths of the frequent kind are right and none of the other; at 0.4 all of the rare one and eight tenths."""
    forged = [AUDIO] * 100 + [BOTH] * 10
    scores = [[1.0, 0.1]] * 80 + [[1.0, 0.45], [1.0, 0.55]] * 10 + [[1.0, 0.42]] * 10
    assert choose_modality_share(forged, scores) == 0.4


def test_a_few_segments_of_a_kind_decide_nothing():
    """Nine pictures, whose sound scores high, would ask for 0.95; with a tenth one they do."""
    forged, scores = [AUDIO, BOTH] * 10 + [VISUAL] * 10, [[1.0, 0.1], [1.0, 1.0]] * 10 + [[0.92, 1.0]] * 10
    assert choose_modality_share(forged[:-1], scores[:-1]) == MODALITY_SHARE
    assert choose_modality_share(forged, scores) == 0.95


def test_of_equal_shares_the_one_near_the_default_is_chosen():
    assert choose_modality_share([AUDIO, BOTH] * 10, [[1.0, 0.0], [1.0, 1.0]] * 10) == MODALITY_SHARE
    assert choose_modality_share([AUDIO, BOTH] * 10, [[1.0, 0.0], [1.0, 0.15]] * 10) == 0.1


@pytest.mark.parametrize("forged", [np.zeros((0, 2), bool), [AUDIO], [BOTH] * 30])
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
