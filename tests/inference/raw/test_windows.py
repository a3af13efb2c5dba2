from __future__ import annotations

import numpy as np

from avloc.core.proposals import Proposals
from avloc.core.timeline import TimeGrid
from avloc.heads.candidates import ClipCandidates, PointCandidates, PointDecoding
from avloc.inference.raw.windows import EVERYWHERE, RawClip, RawWindow, inner_rows, inner_seconds, join_windows
from avloc.inference.streaming import Window


def window(segments, scores, end_s, inner_s=EVERYWHERE):
    modality_scores = np.stack([scores, np.zeros(len(scores))], 1)
    candidates = PointCandidates(np.array(segments, float), modality_scores, np.ones((len(scores), 2)))
    return RawWindow(ClipCandidates((candidates,), 1.0), end_s, inner_s)


def test_rows_are_cut_to_the_clip():
    clip = RawClip((window([[1, 2], [4, 6], [5.5, 6]], [0.5, 0.9, 0.7], 5.0),))
    assert clip.decode(PointDecoding(), keep=9).segments.tolist() == [[4, 5], [1, 2]]
    assert clip.decode(PointDecoding(), keep=1).segments.tolist() == [[4, 5]]


def test_each_window_answers_for_its_inner_part():
    first = window([[1, 2], [7, 9]], [0.5, 0.9], 10.0, (-np.inf, 7.5))
    last = window([[6, 7], [7, 9], [11, 14]], [0.8, 0.7, 0.6], 13.0, (7.5, np.inf))
    rows = RawClip((first, last), shares=2).decode(PointDecoding(), keep=1)
    assert rows.segments.tolist() == [[7, 9], [11, 13]]  # neither window answers for its best row
    rows = RawClip((first, last), shares=2).decode(PointDecoding(), keep=2)
    assert rows.segments.tolist() == [[7, 9], [11, 13], [1, 2]]
    assert RawClip((first, last)).rows().shape == (5, 3)


def test_middles_on_the_border_belong_to_the_later_window():
    rows = Proposals(np.array([[1.0, 2.0]]), np.ones(1), np.ones((1, 2)))
    assert [len(inner_rows(rows, inner)) for inner in ((0, 1.5), (1.5, 3))] == [0, 1]


def test_one_window_stays_as_it_is():
    rows = Proposals(np.array([[1.0, 2.0], [2, 3]]), np.ones(2), np.ones((2, 2)))
    assert join_windows([rows], 1.5, 1) is rows
    assert join_windows([rows, Proposals.empty()], 1.5, 5).segments.tolist() == [[1, 1.5]]


def test_the_first_and_the_last_window_answer_for_what_lies_outside():
    grid = TimeGrid(start_s=4.0, hop_s=0.5, length=20)
    assert inner_seconds(Window(None, 0, False), grid, 0, 8) == (-np.inf, 8.0)
    assert inner_seconds(Window(None, 10, False), grid, 14, 26) == (6.0, 12.0)
    assert inner_seconds(Window(None, 10, True), grid, 14, 30) == (6.0, np.inf)
