"""Rows of a joint network and of specialists > their fusion on clips that it was not fitted on, beside each system alone.

Legend: K systems, V clips, F folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scoring.predictions import SplitPredictions
from scoring.scores import RESAMPLES, evaluate_rows
from scoring.tables import Table, percent

from avloc.evaluation.bootstrap import Interval, fold_differences
from avloc.evaluation.evidence.folds import source_folds
from avloc.evaluation.fusion.fitting import fit_segment_fusion
from avloc.evaluation.protocols import get_protocol
from avloc.evaluation.scoring import Evaluation
from avloc.evaluation.truth import Truth

PROTOCOL = get_protocol("avdeepfake1m")  # it has the challenge's score
SHOWN = {"ap@0.5": "AP@.5", "score": "challenge's score"}


class FoldEvaluations(NamedTuple):
    """The clips of one fold, scored.

    Attributes:
        fused: the fusion that was fitted on the other folds.
        systems: each system alone, by name.
    """

    fused: Evaluation
    systems: dict[str, Evaluation]


class FusionResult(NamedTuple):
    """What fusion gains over the best of its systems, by each metric of `SHOWN`.

    Attributes:
        alone: each system's mean over the folds, by name and metric.
        fused: the fusion's mean over the folds.
        best: the system with the best mean, by metric.
        gain: difference of the fusion and that system, with its interval.
    """

    alone: dict[str, dict[str, float]]
    fused: dict[str, float]
    best: dict[str, str]
    gain: dict[str, Interval]


def evaluate_folds(
    systems: Mapping[str, SplitPredictions], truth: Truth, *, progress: Callable[[str], object] = lambda text: None
) -> list[FoldEvaluations]:
    """Fit the fusion on all folds of sources but one, and score it on that one, for each fold.

    Args:
        systems: predictions of the labelled clips, by name.
        truth: the labels.
        progress: called with a sentence for each fold.

    Raises:
        AvlocError: if predictions and labels are of different clips.
    """
    for name, predictions in systems.items():
        predictions.check_files(truth.files, name)
    fold = source_folds(truth.source, np.diff(truth.labels.offsets) > 0)
    results = []
    for k in range(int(fold.max()) + 1):
        is_held_out: npt.NDArray[np.bool_] = fold == k
        inside, outside = np.flatnonzero(is_held_out), np.flatnonzero(~is_held_out)
        others = [predictions.take(outside).rows() for predictions in systems.values()]
        fusion = fit_segment_fusion(others, truth.select(~is_held_out), PROTOCOL).fusion
        held_out = {name: predictions.take(inside).rows() for name, predictions in systems.items()}
        held_out_truth = truth.select(is_held_out)
        fused = evaluate_rows(fusion.fuse([*held_out.values()]), held_out_truth, PROTOCOL)
        alone = {name: evaluate_rows(rows, held_out_truth, PROTOCOL) for name, rows in held_out.items()}
        results.append(FoldEvaluations(fused, alone))
        progress(f"fold {k + 1}: weights {fusion.weights}, merging from IoU {fusion.merge_iou:g}")
    return results


def summarize(folds: Sequence[FoldEvaluations], *, resamples: int = RESAMPLES) -> FusionResult:
    """Average over the folds, and compare the fusion with the best of its systems by each metric."""

    def mean(evaluations: Sequence[Evaluation]) -> dict[str, float]:
        shares = [len(np.unique(each.truth.source)) for each in evaluations]
        values = {
            "ap@0.5": [each.strict.ap[0.5] for each in evaluations],
            "score": [each.strict.score or 0.0 for each in evaluations],
        }
        return {name: float(np.average(value, weights=shares)) for name, value in values.items()}

    names = [*folds[0].systems]
    alone = {name: mean([fold.systems[name] for fold in folds]) for name in names}
    best = {metric: max(names, key=lambda name, m=metric: alone[name][m]) for metric in SHOWN}
    gain = {
        metric: fold_differences([(fold.fused, fold.systems[name]) for fold in folds], resamples=resamples)[metric]
        for metric, name in best.items()
    }
    return FusionResult(alone, mean([fold.fused for fold in folds]), best, gain)


def fusion_table(results: Mapping[int, FusionResult], titles: Mapping[str, str], budget: str) -> Table:
    """Draw each seed's systems, their fusion, and its gain over the best of them.

    Args:
        results: by seed.
        titles: of the systems, by name.
        budget: name of the budget.
    """
    rows = []
    for seed, result in results.items():
        for name, scores in result.alone.items():
            rows.append(((f"seed {seed}: {titles[name]}",), [(percent(scores[metric]),) for metric in SHOWN]))
        cells = []
        for metric in SHOWN:
            gain = result.gain[metric]
            ends = f"{100 * gain.low:+.1f}…{100 * gain.high:+.1f}"
            cells.append((f"{percent(result.fused[metric])}", f"{100 * gain.value:+.1f} ({ends})"))
        rows.append(((f"seed {seed}: fused", "gain over the best one"), cells))
    note = (
        "Strict, percent: means over five folds of utterances (sources), each under a fusion that was fitted on the other four. "
        "The gain with its 95 % interval of paired draws of utterances."
    )
    title = f"Fusion of specialists with the joint network (val split, {budget} budget)"
    return Table(f"val-{budget}-fusion", title, "system", [*SHOWN.values()], rows, (note,))
