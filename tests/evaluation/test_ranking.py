from __future__ import annotations

import itertools

import numpy as np
import pytest

from avloc.evaluation import ranking
from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.ranking import rank_rows


def random_rows(random, make_scores, *, ordered):
    counts = random.integers(0, 9, 37)
    scores = make_scores(random, counts.sum())
    offsets = np.concatenate([[0], np.cumsum(counts)])
    if ordered:
        scores = np.concatenate([np.sort(scores[a:b])[::-1] for a, b in itertools.pairwise(offsets)])
    return PredictionRows(scores, np.zeros((len(scores), 2)), offsets)


SCORES = {
    "distinct": lambda random, n: random.normal(size=n),
    "tied": lambda random, n: random.integers(-3, 3, n) / 4,
    "one in single precision": lambda random, n: 0.3 + 1e-12 * random.integers(0, 5, n),
    "decimals": lambda random, n: random.uniform(size=n).round(2),
    "single": lambda random, n: random.uniform(size=n).astype(np.float32).astype(float),
    "decimals and single": lambda random, n: np.where(random.integers(0, 2, n) > 0, 0.1, float(np.float32(0.1))),
    "both": lambda random, n: random.integers(0, 3, n) / 3 + 1e-12 * random.integers(0, 3, n),
}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("name", SCORES)
def test_counts_ahead_equal_plain_counting(name, ordered, monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK_ROWS", 7)
    random = np.random.default_rng(0)
    rows = random_rows(random, SCORES[name], ordered=ordered)
    scores, single = rows.scores, rows.scores.astype(np.float32)
    group = random.integers(0, 3, len(scores))
    row = random.choice(len(scores), 20)
    order = rank_rows(rows)
    for mode in ("official", "strict"):
        if mode == "official":
            ahead = [(single > single[r]) | ((single == single[r]) & (np.arange(len(single)) < r)) for r in row]
        else:
            ahead = [scores >= scores[r] for r in row]
        places = order.places(mode, row)
        assert places.tolist() == [int(a.sum()) for a in ahead]
        counts = order.count_ahead(mode, places, group, 3)
        assert counts.tolist() == [[int((a & (group == g)).sum()) for a in ahead] for g in range(3)]
        assert order.count_ahead(mode, places, group, 1).tolist() == [places.tolist()]


def test_an_order_of_its_own_only_where_single_precision_ties():
    exact = PredictionRows(np.array([0.1, 0.2, 0.1]), np.zeros((3, 2)), np.array([0, 3]))
    assert rank_rows(exact).strict is None
    close = PredictionRows(np.array([0.1, 0.2, 0.1 + 1e-12]), np.zeros((3, 2)), np.array([0, 3]))
    assert rank_rows(close).strict.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("scores", "is_kept"),
    [
        ([0.1234567, 0.1234568, 0.0, 1.0], True),
        ([float(np.float32(0.1)), -3.5, 2.0**90], True),
        ([0.1, float(np.float32(0.1))], False),
        ([0.12345678, 0.5], False),  # unknown, so they are compared
        ([1.1, 0.5], False),
        ([np.nan, 0.1], False),
    ],
)
def test_scores_that_stay_apart_in_single_precision_need_no_comparison(monkeypatch, scores, is_kept):
    rows = PredictionRows(
        np.array([*scores, scores[0]]), np.zeros((len(scores) + 1, 2)), np.array([0, len(scores) + 1])
    )
    compared = []
    monkeypatch.setattr(ranking, "_differs_in_double", lambda *part: compared.append(part) or False)
    rank_rows(rows)
    assert (not compared) == is_kept


def test_no_rows():
    order = rank_rows(PredictionRows(np.zeros(0), np.zeros((0, 2)), np.zeros(1, dtype=np.int64)))
    nothing = np.zeros(0, dtype=np.int64)
    assert order.places("strict", nothing).tolist() == []
    assert order.count_ahead("official", nothing, nothing, 2).shape == (2, 0)
