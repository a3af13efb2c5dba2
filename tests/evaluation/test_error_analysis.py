from __future__ import annotations

import numpy as np
import pytest

from avloc.evaluation.error_analysis import ERROR_KINDS, analyse_errors
from avloc.evaluation.matching import Labels, PredictionRows


def analyse(*videos, **options):
    """[(rows, labels)] per video."""
    flat = np.array([r for rows, _ in videos for r in rows], dtype=float).reshape(-1, 3)
    offsets = np.cumsum([0, *[len(rows) for rows, _ in videos]])
    labels = Labels.from_clips([np.array(s, dtype=float).reshape(-1, 2) for _, s in videos])
    return analyse_errors(PredictionRows(flat[:, 0], flat[:, 1:], offsets), labels, **options)


def row_kinds(errors):
    return [list(ERROR_KINDS)[k] for k in errors.row_kind]


def test_each_row_gets_its_kind():
    errors = analyse(
        (
            [
                (0.9, 10, 12),  # hit
                (0.8, 10, 12.1),  # duplicate
                (0.7, 17, 22),  # its start is 3 s early: IoU .4
                (0.6, 20, 25),  # its end is late: IoU .4, of a label that is otherwise not errors
                (0.5, 19, 27),  # IoU .25, and neither end alone would do … see below
                (0.4, 28.2, 31.9),  # IoU .1 of [30, 30.4]: both ends
                (0.3, 5, 6),  # background on a fake clip
            ],
            [(10, 12), (20, 22), (30, 30.4)],
        ),
        ([(0.2, 0, 1)], []),
    )
    assert row_kinds(errors) == [
        "hit",
        "duplicate",
        "start",
        "end",
        "end",
        "both ends",
        "background on fake",
        "background on real",
    ]
    assert errors.kinds["missed"].count == 0
    assert errors.kinds["hit"].count == 1
    assert errors.ap == pytest.approx(1 / 3)


def test_costs_by_hand():
    # One hit, below one row of background on a real clip: AP .5 (of 1 label); without that row, 1.
    errors = analyse(([(0.5, 1, 2)], [(1, 2)]), ([(0.9, 0, 1)], []))
    assert errors.ap == 0.5
    assert errors.kinds["background on real"].ap_cost == 0.5
    assert errors.kinds["background on fake"].ap_cost == 0
    # A missed label: AP .5; without it, 1.
    errors = analyse(([(0.5, 1, 2)], [(1, 2), (5, 6)]))
    assert errors.kinds["missed"].count == 1
    assert errors.kinds["missed"].ap_cost == 0.5
    # A localization error mended becomes a hit; a second one of the same label goes.
    errors = analyse(([(0.9, 1, 3), (0.8, 1, 3.2), (0.5, 5, 6)], [(1, 1.9), (5, 6)]))
    assert row_kinds(errors) == ["end", "end", "hit"]
    assert errors.ap == pytest.approx(1 / 6)
    assert errors.kinds["end"].ap_cost == pytest.approx(1 - 1 / 6)
    # A duplicate above a hit.
    errors = analyse(([(0.9, 1, 2), (0.8, 1, 2), (0.7, 5, 6)], [(1, 2), (5, 6)]))
    assert errors.ap == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert errors.kinds["duplicate"].ap_cost == pytest.approx(1 / 6)


def test_an_error_on_a_label_that_is_found_is_only_left_out():
    errors = analyse(([(0.9, 1, 3), (0.5, 1, 2)], [(1, 1.9)]))
    assert row_kinds(errors) == ["end", "hit"]
    assert errors.kinds["end"].ap_cost == 0.5


def test_empties():
    nothing = analyse(([], []))
    assert np.isnan(nothing.ap)
    only_labels = analyse(([], [(1, 2)]))
    assert only_labels.kinds["missed"].count == 1
    assert only_labels.kinds["missed"].ap_cost == 1
    assert sum(k.count for k in only_labels.kinds.values()) == 1


def test_wrong_thresholds():
    with pytest.raises(ValueError, match="want 0 < background IoU < hit IoU ≤ 1, got 0.6 and 0.5"):
        analyse(([], []), background_iou=0.6)
