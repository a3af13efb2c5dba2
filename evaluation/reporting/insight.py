"""Where a system is good and where not: breakdowns, recall against IoU, calibration. All strict.

Legend: V videos, R rows, N labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.detection import as_json as detection_as_json
from avloc.evaluation.detection import best_scores, detection
from avloc.evaluation.error_analysis import analyse_errors
from avloc.evaluation.matching import Float, Int, Mask, video_of_row
from avloc.evaluation.metrics import AR_IOUS, Hits, find_hits, regroup, strict_area
from avloc.evaluation.protocols import Evaluation, number
from avloc.evaluation.truth import Truth

FAKE_LENGTHS_S = (0.0, 0.2, 0.4, 0.6, 0.8, 1.2, np.inf)
CLIP_LENGTHS_S = (0.0, 4.0, 8.0, 12.0, 20.0, 60.0, np.inf)
FAKE_COUNTS = (1, 2, 3, 4)  # the last one: or more
CURVE_IOUS = tuple(round(0.1 + 0.05 * k, 2) for k in range(18))
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Curve:
    """Points to draw: `x` and `y` of equal length, `name` for the legend."""

    name: str
    x: Float
    y: Float


def insight(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that explains the scores, with text keys, for `--json` and the report.

    `breakdowns`: by clip length, number of fakes and generator (fake clips of that kind, and all real ones) and by fake
    length (labels of that length; rows that found another are left out). `recall_iou`: share of labels found at each IoU by
    the first n rows. `errors`: see `error_analysis`. `calibration`: is a score the share of hits at IoU .5? `detection`: the
    best row's score as the clip's.
    """
    truth, rows, protocol = evaluation.truth, evaluation.aligned.rows, evaluation.protocol
    hits = find_hits(
        rows,
        truth.labels,
        modes=("strict",),
        ap_ious=sorted({*CURVE_IOUS, *protocol.ap_ious}),
        ar_counts=protocol.ar_counts,
    )["strict"]
    breakdowns = {
        name: _by_clip(hits, evaluation, column)
        for name, column in clip_columns(truth).items()
        if len(column.names) > 1
    }
    errors = analyse_errors(rows, truth.labels)
    return {
        "breakdowns": {"fake length": by_fake_length(hits, evaluation), **breakdowns},
        "recall_iou": recall_curves(hits, protocol.ar_counts),
        "errors": {
            "iou": errors.iou,
            "ap": number(errors.ap),
            "kinds": {n: {"count": k.count, "ap_cost": number(k.ap_cost)} for n, k in errors.kinds.items()},
        },
        "calibration": calibration(rows.scores, hits.matches.rows[0.5]),
        "detection": detection_as_json(detection(best_scores(rows), np.diff(truth.labels.offsets) > 0)),
    }


def clip_columns(truth: Truth) -> dict[str, CategoricalColumn]:
    """What fake clips are sorted by; real clips are "real", unknown ones ""."""
    fakes = np.diff(truth.labels.offsets)
    lengths = [_range_name(a, b, "s") for a, b in itertools.pairwise(CLIP_LENGTHS_S)]
    bins = np.digitize(truth.duration_s, CLIP_LENGTHS_S[1:-1])
    columns = {
        "clip length": _column(fakes, np.where(np.isnan(truth.duration_s), len(lengths), bins), [*lengths, ""]),
        "number of fakes": _column(
            fakes, np.minimum(fakes, FAKE_COUNTS[-1]) - 1, [*map(str, FAKE_COUNTS[:-1]), f"{FAKE_COUNTS[-1]}+"]
        ),
    }
    for name, generator in truth.generators.items():
        columns[name.replace("_", " ")] = _column(fakes, generator.codes, generator.names)
    return columns


def _column(fakes: Int, codes: npt.NDArray[np.integer], names: Sequence[str]) -> CategoricalColumn:
    """A column of fake clips' names; those without a fake are "real"."""
    return CategoricalColumn(np.where(fakes > 0, codes + 1, 0).astype(np.int32), ["real", *names])


def _range_name(low: float, high: float, unit: str) -> str:
    return f"{low:g} {unit} and more" if np.isinf(high) else f"{low:g}–{high:g} {unit}"


def _by_clip(hits: Hits, evaluation: Evaluation, column: CategoricalColumn) -> dict[str, Any]:
    truth, protocol = evaluation.truth, evaluation.protocol
    grouped = regroup(hits, evaluation.aligned.rows, column.codes.astype(np.int64))
    counts = np.diff(truth.labels.offsets)
    table = {}
    for code, name in enumerate(column.names):
        mine = column.codes == code
        if code and name and mine.any():
            scores = grouped.scores(protocol.ap_ious, [0, code] if (column.codes == 0).any() else [code])
            table[name] = {
                "videos": int(mine.sum()), "segments": int(counts[mine].sum()),
                "ap": {f"{k:g}": number(v) for k, v in scores.ap.items()},
                "ar": {str(k): number(v) for k, v in scores.ar.items()},
            }  # fmt: skip
    return table


def by_fake_length(hits: Hits, evaluation: Evaluation) -> dict[str, Any]:
    """AP and AR over the labels of each length; a row that found a label of another length is left out, not wrong."""
    truth, protocol = evaluation.truth, evaluation.protocol
    length = np.round(truth.labels.segments[:, 1] - truth.labels.segments[:, 0], 9)  # 20.4 − 20 is meant to be 0.4
    bins = np.digitize(length, FAKE_LENGTHS_S[1:-1])
    table = {}
    for k, (low, high) in enumerate(itertools.pairwise(FAKE_LENGTHS_S)):
        mine = bins == k
        if mine.any():
            table[_range_name(low, high, "s")] = {
                "videos": len(np.unique(video_of_row(truth.labels.offsets)[mine])), "segments": int(mine.sum()),
                "ap": {f"{iou:g}": number(_area_of_labels(hits, hits.matches.rows[iou], mine)) for iou in protocol.ap_ious},
                "ar": {str(n): number(float(found[:, mine].mean())) for n, found in hits.recalled.items()},
            }  # fmt: skip
    return table


def _area_of_labels(hits: Hits, taker: Int, mine: Mask) -> float:
    """AP over some labels, without the rows that found others."""
    before = hits.before.sum(axis=0)

    def counts(labels: Mask) -> Int:
        found = taker[labels]
        return np.sort(before[np.searchsorted(hits.row, found[found >= 0])])

    wanted, others = counts(mine), counts(~mine)
    # A row with as many rows before it or level with it as another has the same score, so counts stand for scores.
    return strict_area(wanted - np.searchsorted(others, wanted, side="right"), int(mine.sum()))


def recall_curves(hits: Hits, ar_counts: Sequence[int]) -> dict[str, Any]:
    """The share of labels that the first n rows of their clip find, at each IoU."""
    matches = hits.matches
    curves = {
        str(n): [number(float(np.mean((matches.rows[t] >= 0) & (matches.places[t] < n)))) if len(hits.video) else None
                 for t in CURVE_IOUS]
        for n in ar_counts
    }  # fmt: skip
    return {"iou": list(CURVE_IOUS), "recall": curves}


def calibration(scores: Float, taker: Int) -> dict[str, Any] | None:
    """Score against share of hits, in bins of equal width, and their mean distance weighted by rows (ECE).

    Guo et al., "On calibration of modern neural networks", ICML 2017. None if scores are not within [0, 1], or there are none.

    Args:
        scores: of all rows: (R,).
        taker: the row of each label, as in `Matches.rows`: (N,).
    """
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    hit = np.zeros(len(scores), dtype=bool)
    hit[taker[taker >= 0]] = True
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    count = np.bincount(bins, minlength=CALIBRATION_BINS)
    mean = np.bincount(bins, weights=scores, minlength=CALIBRATION_BINS) / np.maximum(count, 1)
    share = np.bincount(bins[hit], minlength=CALIBRATION_BINS) / np.maximum(count, 1)
    some = count > 0
    return {
        "ece": float(np.sum(count * np.abs(mean - share)) / len(scores)),
        "rows": count[some].tolist(), "mean_score": mean[some].tolist(), "share_of_hits": share[some].tolist(),
    }  # fmt: skip


def curves_of(evaluation: Evaluation) -> list[Curve]:
    """The strict precision-recall curve at each AP threshold."""
    rows, truth, ious = evaluation.aligned.rows, evaluation.truth, evaluation.protocol.ap_ious
    hits = find_hits(rows, truth.labels, modes=("strict",), ap_ious=ious, ar_counts=())["strict"]
    curves = []
    for iou in ious:
        precision, recall = hits.curve(iou)
        curves.append(Curve(f"IoU ≥ {iou:g}", recall, precision))
    return curves


def worst_and_best(evaluation: Evaluation) -> Float:
    """How well each clip's own rows tell: mean recall of the first rows over the IoUs of AR, less what real clips are accused.

    For a clip with fakes, the share of (label, IoU) found by the first ⌈2 · labels⌉ rows; for a real clip, 1 − the best
    row's score (clipped to [0, 1]). In [0, 1], (V,): only for choosing what to show.
    """
    truth, rows = evaluation.truth, evaluation.aligned.rows
    fakes = np.diff(truth.labels.offsets)
    hits = find_hits(rows, truth.labels, modes=("strict",), ap_ious=(0.5,), ar_counts=())["strict"]
    limit = (2 * fakes)[hits.video]
    found = np.mean([(hits.matches.rows[t] >= 0) & (hits.matches.places[t] < limit) for t in AR_IOUS], axis=0)
    quality = 1 - np.clip(best_scores(rows), 0, 1)
    some = fakes > 0
    quality[some] = np.bincount(hits.video, weights=found, minlength=len(fakes))[some] / fakes[some]
    return quality
